"""Fine-tuning of chosen units: from a task and a choice of units to an adapter on disk."""

from __future__ import annotations

import copy
import logging
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn

from langneurons.data import Blocks, make_blocks
from langneurons.data.tasks import draw_within, first_within, get_task, pad_id
from langneurons.errors import ArtifactError, InputError
from langneurons.finetuning.adapter import (
    CHECKPOINT,
    INFO,
    Adapter,
    build_base,
    save_adapter,
    wrapping,
)
from langneurons.finetuning.description import Description, Purpose
from langneurons.finetuning.entries import separate
from langneurons.finetuning.examples import Item, block_items, encode_items
from langneurons.finetuning.experts import SITES as EXPERT_SITES
from langneurons.finetuning.experts import confine, learning
from langneurons.finetuning.processes import Processes
from langneurons.finetuning.recipe import Recipe, get_recipe
from langneurons.finetuning.rows import densify, sparsify
from langneurons.finetuning.sharding import shard, sharding_settings
from langneurons.finetuning.structure import head_names
from langneurons.finetuning.targets import Choice, Plan, choose, make_plan
from langneurons.finetuning.training import Data, precision, train
from langneurons.intervention import Intervention, as_interventions, intervene

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from langneurons.data.tasks import Example, Task
    from langneurons.identification import NeuronSet, Units
    from langneurons.models import LanguageModel

_log = logging.getLogger(__name__)
_NO_TARGET = "dummy-target-modules"  # PEFT's own name for an adapter that is a head only


def finetune(
    lm: LanguageModel,
    task: str | Task,
    lang: str = "en",
    neurons: Units | NeuronSet | str | None = None,
    *,
    output: str | os.PathLike[str],
    recipe: Recipe | str | None = None,
    site: str | None = None,
    intervention: Intervention | Sequence[Intervention] | None = None,
    resume: bool = True,
    report_to: str | Sequence[str] = (),
    **options: Any,
) -> Adapter:
    """Train an adapter in which, of the MLP, only the chosen units learn.

    ``dW = M * (B A)`` with M selecting whole units, so only their rows of B exist; attention
    projections get plain LoRA and a classification head is trained in full. The weights of ``lm``
    and its modules are not touched. An output folder that holds the same run finished is returned
    at once; one that holds it half done is continued.

    Args:
        lm: The model.
        task: A classification or question answering task, or its name.
        lang: Language whose examples are trained on.
        neurons: Units that learn: units, a neuron set (all its languages), ``"all"`` units of the
            MLP, or ``"none"`` (None).
        output: Folder of the adapter.
        recipe: A recipe or the name of one; see :class:`Recipe`.
        site: Where the units are; None: the site of the neuron set, else ``"mlp.act"``
            (``"moe.act"`` for ``"all"`` units of a mixture that has none elsewhere).
        intervention: Activations that are held while training.
        resume: Use what the output folder holds of the same run.
        report_to: Trackers of Accelerate that are told of every step ("tensorboard", "wandb",
            "trackio", ...).
        **options: Single settings of the recipe (``rank=16``, ``epochs=2``, ...).

    Returns:
        The adapter.

    Raises:
        InputError: If a setting, the units or the examples cannot be used.
        RunError: If the loss is no longer finite.
    """
    recipe = get_recipe(recipe, **options)
    task = get_task(task)
    pad = pad_id(lm.tokenizer)
    items = _items(lm, task, _examples(task, lang, recipe, lm.tokenizer), recipe, pad)
    development: list[Item] = []
    if recipe.evaluate_every is not None:
        looked_at = _drawn(
            task, lang, recipe.evaluation_split, recipe.evaluation_limit, recipe.seed, lm.tokenizer
        )
        development = _items(lm, task, looked_at, recipe, pad)
    head = recipe.head if task.kind == "classification" else None
    purpose = Purpose(task.kind, tuple(task.labels), pad, head, recipe.max_length)
    return _train(
        lm,
        Data(items, development, task.kind, pad, purpose.reading_length),
        purpose,
        task.describe(),
        lang,
        choose(lm, neurons, site),
        recipe,
        output=Path(output),
        intervention=intervention,
        resume=resume,
        report_to=report_to,
    )


def continue_pretraining(
    lm: LanguageModel,
    texts: Sequence[str] | Blocks,
    lang: str,
    neurons: Units | NeuronSet | str | None = None,
    *,
    output: str | os.PathLike[str],
    block: int = 256,
    tokens: int | None = None,
    recipe: Recipe | str | None = None,
    site: str | None = None,
    intervention: Intervention | Sequence[Intervention] | None = None,
    resume: bool = True,
    report_to: str | Sequence[str] = (),
    **options: Any,
) -> Adapter:
    """Train an adapter on plain text by predicting the next token; otherwise like ``finetune``.

    Args:
        lm: The model.
        texts: Documents of one language, or token blocks made of them.
        lang: Their language.
        neurons: Units that learn, as in :func:`finetune`.
        output: Folder of the adapter.
        block: Tokens of a block, where ``texts`` are documents.
        tokens: At most so many tokens of text.
        recipe: A recipe or the name of one; batches are counted in blocks.
        site: Where the units are.
        intervention: Activations that are held while training.
        resume: Use what the output folder holds of the same run.
        report_to: Trackers of Accelerate that are told of every step.
        **options: Single settings of the recipe.

    Raises:
        InputError: If a setting, the units or the text cannot be used.
        RunError: If the loss is no longer finite.
    """
    recipe = get_recipe(recipe, **options)
    if recipe.evaluate_every is not None:
        raise InputError("text has no development split: leave evaluate_every out.")
    blocks = (
        texts
        if isinstance(texts, Blocks)
        else make_blocks(list(texts), lm.tokenizer, block=block, tokens=tokens)
    )
    items = block_items(blocks)[: recipe.limit]
    pad = pad_id(lm.tokenizer)
    return _train(
        lm,
        Data(items, [], "text", pad),
        Purpose("text", pad=pad, max_length=int(blocks.input_ids.shape[1])),
        {"task": "text", "text": blocks.fingerprint},
        lang,
        choose(lm, neurons, site),
        recipe,
        output=Path(output),
        intervention=intervention,
        resume=resume,
        report_to=report_to,
    )


def _train(
    lm: LanguageModel,
    data: Data,
    purpose: Purpose,
    task: dict[str, Any],
    lang: str,
    choice: Choice,
    recipe: Recipe,
    *,
    output: Path,
    intervention: Intervention | Sequence[Intervention] | None,
    resume: bool,
    report_to: str | Sequence[str],
) -> Adapter:
    """Build, train and save; everything that decides the result enters the run's key."""
    processes = Processes(lm.device)
    described = Description(
        purpose,
        task,
        lang,
        units=choice.describe(),
        recipe=recipe.describe(),
        model=lm.fingerprint,
        examples=len(data.items),
        dtype=str(precision(recipe, processes.device)).removeprefix("torch."),
        intervention=[item.identity() for item in as_interventions(intervention)],
    )
    key = described.key([*data.items, *data.development])
    if resume and (finished := _finished(output, key)) is not None:
        return finished
    processes.agree(key)
    shards = sharding_settings(recipe) if processes.sharded else None
    if shards is not None and choice.site in EXPERT_SITES:
        raise InputError(
            f"units at {choice.site!r} cannot be trained with weights spread over processes: train "
            "on one process, or without sharding."
        )
    checkpoint = output / CHECKPOINT
    if not resume and processes.main:
        checkpoint.unlink(missing_ok=True)
    processes.wait()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_trainable(lm, purpose, choice, recipe)
    trainable = learning(model)
    _log.info("training %d weights on %d examples", trainable, len(data.items))
    adapted = lm.with_model(model)
    if shards is not None:
        _ = adapted.sites.plans  # found by a forward pass, which needs whole weights
        shard(model, adapted.layer_modules, processes.device, shards)
    with intervene(adapted, intervention):
        log = train(model, data, recipe, checkpoint=checkpoint, key=key, report_to=report_to)
    if isinstance(model, PeftModel):
        densify(model)
    if processes.main:
        save_adapter(model, output, described.record(key, trainable, log))
        checkpoint.unlink(missing_ok=True)
    processes.wait()
    return Adapter.load(output)


def _finished(folder: Path, key: str) -> Adapter | None:
    if not (folder / INFO).is_file():
        return None
    try:
        adapter = Adapter.load(folder)
    except ArtifactError as error:
        _log.warning("%s Training starts anew.", error)
        return None
    return adapter if adapter.info.get("key") == key else None


def _examples(task: Task, lang: str, recipe: Recipe, tokenizer: Any = None) -> list[Example]:
    """Training examples of ``lang``, then the shots of other languages.

    As many examples and shots as are asked for are within the task's limit of length.
    """
    chosen = list(_drawn(task, lang, recipe.split, recipe.limit, recipe.seed, tokenizer))
    for other, count in recipe.shots.items():
        if count == 0:
            continue
        pool = list(task.examples(other, recipe.split))
        # One seeded order of all examples, so that fewer shots are a part of more.
        random.Random(f"{recipe.seed} {other}").shuffle(pool)
        wanted = len(pool) if count is None else count
        found = first_within(task, pool, wanted, tokenizer, answered=True).examples
        if count is not None and count > len(found):
            limit = f" of at most {task.max_tokens} tokens" if task.max_tokens is not None else ""
            raise InputError(
                f"{task.name} has {len(found)} examples{limit} of {other!r} in {recipe.split!r}, "
                f"fewer than the {count} shots asked for: lower shots."
            )
        chosen.extend(found)
    return chosen


def _drawn(
    task: Task, lang: str, split: str, limit: int | None, seed: int, tokenizer: Any
) -> list[Example]:
    return draw_within(task, lang, split, tokenizer, limit=limit, seed=seed, answered=True).examples


def _items(
    lm: LanguageModel, task: Task, examples: Sequence[Example], recipe: Recipe, pad: int
) -> list[Item]:
    return encode_items(task, examples, lm.tokenizer, max_length=recipe.max_length, pad=pad)


def build_trainable(
    lm: LanguageModel, purpose: Purpose, choice: Choice, recipe: Recipe
) -> PreTrainedModel | PeftModel:
    """The model that is trained: new modules around the weights of ``lm``, with its adapter.

    Args:
        lm: The model; its weights must be frozen.
        purpose: What the adapter is for.
        choice: The units that learn.
        recipe: The recipe.

    Raises:
        InputError: If nothing would be trained, or weights of ``lm`` are not frozen.
    """
    if recipe.method == "full":
        return _full(lm, purpose, recipe)
    plan = make_plan(lm, choice, recipe)
    classify = purpose.classifies
    if plan.empty and not classify:
        raise InputError("nothing would be trained: choose units, or leave attention on.")
    if recipe.method == "weights" and (classify or plan.stacks):
        raise InputError(
            "method 'weights' trains units of the MLP or of attention on text or questions: take "
            "method 'rows' for units inside experts and for tasks with a head."
        )
    base = build_base(lm, purpose, recipe.seed)
    # Llama 4's text model names its backbone otherwise than its class says.
    own = base.base_model_prefix
    prefix = f"{own}." if isinstance(getattr(base, own, None), nn.Module) else ""
    flags = [(p, p.requires_grad) for p in base.parameters()]
    targets = {f"{prefix}{name}": target for name, target in plan.sparse.items()}
    model: PreTrainedModel | PeftModel
    if recipe.method == "weights":
        model = base
        separate(model, targets)
    else:
        config = _config(base, plan, recipe, prefix, classify)
        asked = set(config.target_modules or ())
        with wrapping():
            model = get_peft_model(base, config)
        if changed := asked - set(config.target_modules or ()):
            raise InputError(
                f"PEFT takes {min(changed)!r} of {lm.name} for a part of its experts and would "
                "train these: choose units of another site, or switch attention off."
            )
        sparsify(model, targets, recipe.seed)
        confine(model, {f"{prefix}{name}": stack for name, stack in plan.stacks.items()})
    for parameter, flag in flags:
        # The weights are shared with the user's model and must come back as they were; a weight
        # that is not frozen there would be trained here.
        if flag:
            raise InputError(
                "the model has weights that are not frozen: load it with langneurons.load or "
                "langneurons.models.wrap."
            )
        parameter.requires_grad_(False)
    if recipe.gradient_checkpointing:
        model.enable_input_require_grads()
        inner = model.get_base_model() if isinstance(model, PeftModel) else model
        inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _config(
    base: PreTrainedModel, plan: Plan, recipe: Recipe, prefix: str, classify: bool
) -> LoraConfig:
    names = [f"{prefix}{name}" for name in plan.names]
    # Weights trained directly are written as a LoRA whose rank is the number of rows.
    ranks = {
        f"{prefix}{name}": len(target.index)
        for name, target in plan.sparse.items()
        if target.direct
    }
    return LoraConfig(
        task_type=TaskType.SEQ_CLS if classify else TaskType.CAUSAL_LM,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=names or ([] if plan.stacks else _NO_TARGET),
        target_parameters=[f"{prefix}{name}" for name in plan.stacks] or None,
        rank_pattern=dict(ranks),
        alpha_pattern=dict(ranks),
        modules_to_save=head_names(base) if classify else None,
        fan_in_fan_out=plan.conv,
    )


def _full(lm: LanguageModel, purpose: Purpose, recipe: Recipe) -> PreTrainedModel:
    model = copy.deepcopy(build_base(lm, purpose, recipe.seed)).float()
    model.requires_grad_(True)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model
