"""What trainings take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langneurons.interface.context import Context
from langneurons.interface.part import Takes
from langneurons.models.size import Size
from langneurons.parts.adapters.spec import AdapterSpec, adapter_units, choice_of, is_base
from langneurons.stages.stage import Stage

_SCORE_BYTES = 200  # a row of a score file, compressed
_ACTIVATIONS = 34  # bytes a token, layer and hidden unit kept for the backward pass, 16 bit


def takes(
    adapters: Mapping[str, AdapterSpec], context: Context, size: Size, stages: Sequence[Stage]
) -> Takes:
    """Peak of a training step, and adapters and scores on disk."""
    memory = disk = 0.0
    for name, task in (context.spec_of("tasks") or {}).items():
        recipe = _recipe({**context.finetune, **task.finetune})
        tokens = recipe.batch_size * min(task.tokens, recipe.max_length)
        kept = 2 if recipe.gradient_checkpointing else _ACTIVATIONS
        step = tokens * size.layers * size.hidden * kept
        for adapter in (item for item in adapters.values() if not is_base(item)):
            # Weights, gradients and AdamW's two moments, in float32.
            memory = max(memory, step + 16 * trainable(adapter, context, size, recipe.rank))
            # LoRA on the MLP is saved whole, zeros included: an ordinary PEFT adapter.
            dense = adapter if adapter_units(adapter) == ["none"] else AdapterSpec(neurons="all")
            disk += 4 * adapter.seeds * trainable(dense, context, size, int(recipe.rank))
        cells = sum(item.kind == "scores" and item.arguments["task"] == name for item in stages)
        disk += cells * (task.limit or 1000) * _SCORE_BYTES
    return Takes(memory, disk)


def _recipe(settings: Mapping[str, Any]) -> Any:
    from langneurons.finetuning import get_recipe

    rest = dict(settings)
    return get_recipe(rest.pop("recipe", None), **rest)


def trainable(adapter: AdapterSpec, context: Context, size: Size, rank: int) -> float:
    """Weights an adapter learns: LoRA on four attention projections, and on the chosen units.

    Square projections are assumed, which counts grouped keys and values too large; the shared
    input side of a masked LoRA is whole, its output side has the chosen units only.
    """
    attention = 4 * 2 * rank * size.hidden * size.layers if adapter.attention else 0
    chosen = adapter_units(adapter)
    if chosen == ["none"]:
        return float(attention)
    projections = len(_recipe(context.finetune).projections)
    inputs = projections * rank * size.hidden * size.layers
    share = 1.0
    if chosen != ["all"]:
        share = min(1.0, sum(_share(context, choice) for choice in chosen))
    return attention + inputs + projections * rank * share * size.units * size.layers


def _share(context: Context, choice: str) -> float:
    """Share of all units that one language's units of a set are expected to be."""
    name = choice_of(choice)[1]
    spec = context.sets[name]
    if spec.derive is not None:
        spec = context.sets[spec.derive]
    top = spec.parameters.get("top", 0.01)
    # LAPE's share is of all languages together; others take theirs for each language.
    return float(top) if isinstance(top, float) else 0.01
