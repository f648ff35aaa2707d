"""Adapters on disk: PEFT's own folder, and beside it what was trained on what."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch.nn import functional as F

from langneurons.artifacts import file_digest, read_json, write_json
from langneurons.errors import ArtifactError, InputError
from langneurons.finetuning import entries
from langneurons.finetuning.description import Purpose
from langneurons.finetuning.structure import (
    classification_class,
    classification_model,
    head_names,
    shared_copy,
)
from langneurons.models.checking import check_complete
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from langneurons.models import LanguageModel

INFO = "langneurons.json"
WEIGHTS = "adapter_model.safetensors"
FULL = "model"
"""Folder below the adapter's in which a fully fine-tuned model lies."""


@dataclass(frozen=True)
class Adapter:
    """A trained adapter.

    Attributes:
        path: Its folder; ``PeftModel.from_pretrained`` reads it.
        trainable: Number of weights that were trained.
        losses: Mean loss of every optimiser step.
        info: All that is kept in its ``langneurons.json``: task, language, units, recipe, model,
            evaluations, seconds, number of examples.
    """

    path: Path
    trainable: int
    losses: list[float] = field(repr=False)
    info: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Adapter:
        """Read what is known of an adapter (its weights stay on disk).

        Raises:
            InputError: If the folder holds no adapter of this project.
            ArtifactError: If a file is missing or damaged.
        """
        folder = Path(path)
        info = read_json(folder / INFO)
        for name, digest in info["files"].items():
            file = folder / name
            if not file.is_file() or file_digest(file) != digest:
                raise ArtifactError(
                    f"{str(file)!r} is missing or damaged: train the adapter again."
                )
        losses = [float(row["loss"]) for row in info["losses"]]
        return cls(folder, int(info["trainable"]), losses, info)


def _name_base(folder: Path, name: str) -> None:
    """Let PEFT's configuration name the model rather than the folder it lay in on this machine.

    PEFT's model card, a form not filled in, names that folder too and is left out.
    """
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = name
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_adapter(model: nn.Module, output: Path, info: dict[str, Any]) -> Adapter:
    """Write an adapter (or a fully fine-tuned model) and its description.

    The files are written beside ``output`` and moved in; the description comes last, so that a
    folder with a description is complete.

    Args:
        model: PEFT model with plain LoRA, a model with rows and columns that learn by themselves
            (of which these alone are written), or a Transformers model.
        output: Folder to write.
        info: JSON values for the description, with ``trainable`` and ``losses``.

    Raises:
        ArtifactError: If PEFT wrote no weights.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / INFO).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=output) as folder:
        part = Path(folder)
        if isinstance(model, PeftModel):
            model.save_pretrained(part, save_embedding_layers=False)
            if not (part / WEIGHTS).is_file():
                raise ArtifactError("PEFT wrote no adapter_model.safetensors: train again.")
            _name_base(part, str(info.get("model", {}).get("name", "")))
        elif entries.entries(model):
            entries.write_entries(model, part / entries.FILE)
        else:
            cast("PreTrainedModel", model).save_pretrained(part / FULL)
        for entry in part.iterdir():
            target = output / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(entry, target)
    files = {
        str(file.relative_to(output)): file_digest(file)
        for file in sorted(output.rglob("*.safetensors"))
        if not file.name.startswith(".") and file.name != CHECKPOINT
    }
    write_json(output / INFO, {**info, "files": files})
    return Adapter.load(output)


CHECKPOINT = "checkpoint.safetensors"


def load_adapter(lm: LanguageModel, path: str | os.PathLike[str] | Adapter) -> LanguageModel:
    """The model with an adapter on it; ``lm`` itself stays as it is.

    The module tree is a new one around the same weights, so several adapters of one model can be
    held at a time. Interventions on the adapted model go to the model returned.

    Args:
        lm: The model the adapter was trained on.
        path: Folder of an adapter, this project's or any LoRA adapter of PEFT for the model.

    Returns:
        The adapted model in evaluation mode: a sequence classification model for classification
        tasks, else a causal one.

    Raises:
        InputError: If there is no adapter, or it is of another model.
        ArtifactError: If it is damaged.
    """
    folder = path.path if isinstance(path, Adapter) else Path(path)
    if (folder / INFO).is_file():
        info = Adapter.load(folder).info
        purpose = Purpose.of(info)
        if info["model"]["sha256"] != lm.fingerprint["sha256"]:
            raise InputError(
                f"the adapter {str(folder)!r} was trained on {info['model']['name']!r}, not on "
                f"{lm.name!r}: load that model."
            )
    else:
        purpose = _foreign(folder)
    if (folder / FULL).is_dir():
        causal = plain_model(lm.model)
        kind = classification_class(causal) if purpose.classifies else type(causal)
        full, loaded = kind.from_pretrained(folder / FULL, output_loading_info=True)
        check_complete(loaded, str(folder))
        full = full.to(lm.device)
        prepare_head(full, purpose, purpose.padding(lm.tokenizer))
        return lm.with_model(full.eval().requires_grad_(False))
    base = build_base(lm, purpose)
    if (folder / entries.FILE).is_file():
        entries.put(base, folder / entries.FILE)
        return lm.with_model(base.eval())
    try:
        with _frozen_flags(base), wrapping():
            # Factors in the model's own dtype, as training under autocast used them.
            model = PeftModel.from_pretrained(
                base, folder, torch_device=str(lm.device), autocast_adapter_dtype=False
            )
    except (RuntimeError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the adapter {str(folder)!r} does not fit {lm.name!r} ({reason}): "
            "load the model it was trained on."
        ) from error
    _check_used(model, folder)
    return lm.with_model(model.eval().requires_grad_(False))


@contextlib.contextmanager
def wrapping() -> Iterator[None]:
    """Leave out what PEFT up to 0.21 makes Transformers say of PEFT's own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield


def build_base(lm: LanguageModel, purpose: Purpose, seed: int = 0) -> PreTrainedModel:
    """The model an adapter goes onto: new modules around the weights of ``lm``.

    Args:
        lm: The model.
        purpose: What the adapted model is for.
        seed: Of the head's initial weights.
    """
    causal = cast("PreTrainedModel", shared_copy(lm.model))
    if not purpose.classifies:
        return causal
    pad = purpose.padding(lm.tokenizer)
    model = classification_model(causal, purpose.labels, pad=pad, seed=seed)
    for name in head_names(model):
        if next(model.get_submodule(name).parameters(), None) is not None:
            model.get_submodule(name).register_forward_pre_hook(_in_its_dtype)
    prepare_head(model, purpose, pad)
    return model


def _in_its_dtype(head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    # A head is trained in float32, also on a model that is loaded in bfloat16.
    return (args[0].to(next(head.parameters()).dtype), *args[1:])


def prepare_head(model: PreTrainedModel, purpose: Purpose, pad: int) -> None:
    """Make a classification model read where its purpose says."""
    length = purpose.reading_length
    if length is None:
        return
    # Transformers reads the last token that is not this id; no token has it.
    model.config.pad_token_id = -1
    model.config.get_text_config().pad_token_id = -1
    # Evaluation cuts longer texts to it.
    model.config.reading_length = length

    def to_length(
        _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ids = kwargs.pop("input_ids", None)
        ids, rest = (args[0], args[1:]) if ids is None else (ids, args)
        mask = kwargs.pop("attention_mask", None)
        if mask is None:
            mask = torch.ones_like(ids)
        missing = max(0, length - ids.shape[1])
        kwargs["input_ids"] = F.pad(ids, (0, missing), value=pad)
        kwargs["attention_mask"] = F.pad(mask, (0, missing), value=0)
        return rest, kwargs

    model.register_forward_pre_hook(to_length, with_kwargs=True)


@contextlib.contextmanager
def _frozen_flags(model: nn.Module) -> Iterator[None]:
    # PEFT freezes the base model; the weights are shared with the user's, whose flags must stay.
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _foreign(folder: Path) -> Purpose:
    """What can be told of an adapter that another program made."""
    config = folder / "adapter_config.json"
    if not config.is_file():
        raise InputError(
            f"no adapter in {str(folder)!r} (no adapter_config.json there): check the path."
        )
    try:
        task = json.loads(config.read_text(encoding="utf-8")).get("task_type")
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{str(config)!r} is damaged (not valid JSON): train again.") from error
    # PEFT notes no task unless it is told one; a head that was saved with the adapter tells it too.
    if task not in (None, "SEQ_CLS"):
        return Purpose("qa")
    heads = [name for name in _saved(folder) if name.endswith("score.weight")]
    if task is None and not heads:
        return Purpose("qa")
    if not heads:
        raise InputError(
            f"the adapter {str(folder)!r} holds no classification head 'score': save it with "
            "modules_to_save=['score']."
        )
    count = _saved(folder)[heads[0]][0]
    return Purpose("classification", tuple(f"LABEL_{number}" for number in range(count)))


def _saved(folder: Path) -> dict[str, list[int]]:
    """Names and shapes of an adapter's weights."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            names = file.keys()
            return {name: list(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{str(folder / WEIGHTS)!r} is missing or damaged: train again."
        ) from error


def _check_used(model: PeftModel, folder: Path) -> None:
    """Refuse an adapter with whole modules that PEFT found no place for and passed over."""
    placed = get_peft_model_state_dict(model, save_embedding_layers=False)
    left = [name for name in _saved(folder) if "lora_" not in name and name not in placed]
    if left:
        raise InputError(
            f"the adapter {str(folder)!r} holds the weights {left[0]!r}, for which "
            f"{type(plain_model(model)).__name__} has no place: save it with the task type it was "
            "trained for (task_type='SEQ_CLS' for a head 'score')."
        )
