"""What a model must be before it is used: whole, a decoder, and named by what is there."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from langneurons.artifacts import expanded
from langneurons.defaults import BUILT_IN
from langneurons.errors import InputError

_SHOWN = 3
_WRAPPERS = {
    "_orig_mod.": "torch.compile: save model._orig_mod",
    "module.": "DataParallel or DDP: save model.module",
    "base_model.model.": "PEFT: save model.merge_and_unload()",
}
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx")


def check_complete(info: Mapping[str, Any], label: str) -> None:
    """Refuse a model some of whose weights were in no file: Transformers draws them at random.

    Args:
        info: What ``from_pretrained(..., output_loading_info=True)`` says: ``missing_keys`` (tied
            weights are not among them) and ``unexpected_keys``.
        label: What the user calls the model.

    Raises:
        InputError: Naming the missing weights and, where the files hold them under names with the
            prefix of a wrapper, how to save them without it.
    """
    missing = sorted(info["missing_keys"])
    if not missing:
        return
    unexpected = sorted(info.get("unexpected_keys") or ())
    shown = ", ".join(missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    advice = "fetch or save it whole"
    if all(_is_head(name) for name in missing):
        advice = (
            "it was saved without its language-model head (a classifier, or the body alone); give "
            "the causal model it was made from"
        )
    for prefix, said in _WRAPPERS.items():
        if any(prefix in name for name in unexpected) and not any(prefix in x for x in missing):
            advice = f"its files' names begin with {prefix!r}, as saved from inside {said}"
            break
    raise InputError(
        f"{label!r} lacks weights, which would be random numbers: {shown}{more}: {advice}."
    )


def _is_head(name: str) -> bool:
    return re.search(r"(^|\.)(lm_head|embed_out|output)\.", name) is not None


def check_decoder(config: Any, label: str) -> None:
    """Refuse a configuration that no class for causal language modelling of Transformers takes.

    Raises:
        InputError: Naming the kind of model.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = str(getattr(config, "model_type", "") or "")
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        raise InputError(
            f"{label!r} brings Python code of its own: read it, and if you trust it let it run "
            "(--trust-remote-code, or trust_remote_code=True)."
        )
    raise not_a_decoder(label, kind, encoder=bool(getattr(config, "is_encoder_decoder", False)))


def not_a_decoder(label: str, kind: str, encoder: bool = False) -> InputError:
    """The error for a model of a kind that is no causal language model."""
    what = "an encoder and a decoder" if encoder else "no causal language model of Transformers"
    return InputError(
        f"{label!r} is a model of the kind {kind!r}, {what}: give a decoder-only model (of a "
        "multimodal model, its language model)."
    )


def check_vocabulary(tokenizer: Any, rows: int | None, label: str) -> None:
    """Refuse a tokenizer whose words have no row in the embedding.

    Added tokens (control and image tokens, say) may lie beyond: text does not hold them, and
    :meth:`~langneurons.models.LanguageModel.check_ids` refuses them where it does.

    Args:
        tokenizer: The tokenizer.
        rows: Rows of the model's embedding, None where unknown.
        label: What the user calls the model.

    Raises:
        InputError: Naming the first such token.
    """
    if rows is None or len(tokenizer) <= rows:
        return
    vocabulary = tokenizer.get_vocab()
    added = set(getattr(tokenizer, "added_tokens_decoder", {})) | set(tokenizer.all_special_ids)
    beyond = sorted(
        (number, token)
        for token, number in vocabulary.items()
        if number >= rows and number not in added
    )
    if beyond:
        raise InputError(
            f"the tokenizer of {label!r} has {len(beyond):,} tokens beyond the {rows:,} rows of "
            f"the embedding (the first is {beyond[0][1]!r}, {beyond[0][0]}): give the model's own "
            "tokenizer."
        )


def check_path(name: str) -> None:
    """Refuse a name that can only be meant as a file or folder, and is none.

    A name is meant as one if it is written like one, if its first part is a folder here, or if a
    model here is called nearly so.

    Args:
        name: What the user calls the model; nothing of that name is here.

    Raises:
        InputError: With the nearest name that is there.
    """
    path = expanded(name)
    siblings = _models_in(path.parent)
    near = difflib.get_close_matches(path.name, [item.name for item in siblings], n=1, cutoff=0.8)
    written = (
        path.is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or name.endswith("/")
        or "\\" in name
        or path.suffix.lower() in _WEIGHTS
        or (path.suffix.lower() == ".gguf" and ":" not in name)
        or ("/" in name and path.parent.is_dir())
    )
    if not near and "/" not in name:
        near = difflib.get_close_matches(name, BUILT_IN, n=1, cutoff=0.8)
    if written or near:
        hint = f" Did you mean {str(Path(name).parent / near[0])!r}?" if near else ""
        raise InputError(
            f"no model {name!r}: no such folder or file; give a folder, .gguf file or "
            f"Hub name.{hint}"
        )


def _models_in(folder: Path) -> Collection[Path]:
    try:
        return [
            item
            for item in folder.iterdir()
            if item.suffix.lower() == ".gguf" or (item / "config.json").is_file()
        ]
    except OSError:
        return []


_NEED_A_BEGINNING = ("gemma",)
"""Kinds of models that read text without ``<bos>`` far worse (several times the perplexity)."""


def warn_without_beginning(
    config: Any, tokenizer: Any, label: str, lead: Sequence[int] | None
) -> None:
    """Warn if text begins without the token that the model was always trained to see there.

    Args:
        config: The model's configuration.
        tokenizer: Its tokenizer.
        label: What the user calls the model.
        lead: Token ids put in front of each block; None where that is not known.
    """
    kind = str(getattr(config, "model_type", ""))
    bos = getattr(tokenizer, "bos_token_id", None)
    if lead is None or bos is None or bos in lead or not kind.startswith(_NEED_A_BEGINNING):
        return
    warnings.warn(
        f"{label} was trained with {tokenizer.bos_token!r} in front of every text and reads "
        "it far worse without: set bos=True (or take the tokenizer that adds it).",
        stacklevel=2,
    )
