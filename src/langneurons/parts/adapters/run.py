"""What a training does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langneurons.interface.workshop import Workshop
from langneurons.parts.adapters.spec import HoldSpec, adapter_units, choice_of

if TYPE_CHECKING:
    from langneurons.identification import Units
    from langneurons.intervention import Intervention


def finetune(workshop: Workshop, output: Path, task: str, adapter: str, seed: int) -> None:
    """Train an adapter of chosen units on a task."""
    from langneurons.finetuning import finetune as train

    context = workshop.context
    spec = context.spec_of("adapters")[adapter]
    task_spec = context.spec_of("tasks")[task]
    split = {"split": task_spec.train_split} if task_spec.train_split else {}
    shots = {"shots": spec.shots} if spec.shots else {}
    workshop.forget_adapter()
    train(
        workshop.lm,
        workshop.task(task),
        lang=context.train_language,
        neurons=chosen_units(workshop, adapter_units(spec), seed),
        site=_site(workshop, adapter_units(spec)),
        attention=spec.attention,
        limit=task_spec.examples,
        seed=context.seed + (spec.seed or 0) + seed,
        intervention=_held(workshop, spec.hold, seed),
        output=output,
        **{**split, **context.finetune, **task_spec.finetune, **shots},
    )


def _held(workshop: Workshop, spec: HoldSpec | None, seed: int) -> Intervention | None:
    """What is overwritten while an adapter learns, with its language's own statistics."""
    from langneurons.identification import Units
    from langneurons.intervention import Intervention

    if spec is None:
        return None
    units = chosen_units(workshop, [spec.neurons], seed)
    assert isinstance(units, Units)
    _, neurons, language = choice_of(spec.neurons)
    return Intervention(
        units=units,
        site=workshop.context.written(neurons),
        **workshop.change(spec.value, language, workshop.context.site(neurons)),
    )


def chosen_units(workshop: Workshop, choices: list[str], seed: int) -> Units | str:
    """What an adapter trains: ``"none"``, ``"all"``, or the union of the named units."""
    if choices in (["none"], ["all"]):
        return choices[0]
    union = None
    for choice in choices:
        kind, name, language = choice_of(choice)
        units = workshop.units(name, language, kind, seed)
        union = units if union is None else union | units
    assert union is not None
    return union


def _site(workshop: Workshop, choices: list[str]) -> str | None:
    """Where the units of an adapter live; None for ``"none"`` and ``"all"`` (of the MLP)."""
    if choices in (["none"], ["all"]):
        return None
    return workshop.context.site(choice_of(choices[0])[1])
