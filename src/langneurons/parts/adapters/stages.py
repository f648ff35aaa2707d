"""The stages that train adapters, and score each without an intervention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langneurons.interface.context import Context
from langneurons.parts.adapters.spec import (
    WHOLE,
    AdapterSpec,
    adapter_runs,
    adapter_units,
    choice_of,
    trainings,
)
from langneurons.parts.tasks.stages import score, source, tested
from langneurons.stages.stage import Stage


def stages(adapters: Mapping[str, AdapterSpec], context: Context) -> list[Stage]:
    """Trainings of every task and adapter, and its scores in every language."""
    stages: list[Stage] = []
    for task, spec in (context.spec_of("tasks") or {}).items():
        test = tested(context, task)
        for run in adapter_runs(adapters):
            trained = trainings(task, run, adapters)
            stages += [_finetune(context, task, run) for _ in trained]
            stages += [
                score(context, task, run, lang, {"value": "none", "units": "-"}, test, trained)
                for lang in spec.languages or context.languages
            ]
    return stages


def _finetune(context: Context, task: str, run: str) -> Stage:
    spec = context.spec_of("tasks")[task]
    adapters = context.spec_of("adapters")
    name, seed = adapter_runs(adapters)[run]
    adapter = adapters[name]
    chosen = [*adapter_units(adapter), *([adapter.hold.neurons] if adapter.hold else [])]
    named = {choice: choice_of(choice) for choice in chosen if choice not in WHOLE}
    sets = {neurons for _, neurons, _ in named.values()}
    settings = {**context.finetune, **spec.finetune}
    # A value held comes from statistics, and so do units of the same activity.
    reading = [neurons for kind, neurons, _ in named.values() if kind == "matched"]
    reading += [named[adapter.hold.neurons][1]] if adapter.hold else []
    statistics = dict.fromkeys(
        stage for neurons in reading for stage in context.statistics_of(context.site(neurons))
    )
    return Stage(
        name=f"finetune/{task}/{run}",
        kind="finetune",
        arguments={"task": task, "adapter": name, "seed": seed},
        settings={
            **source(context, task),
            "adapter": adapter.model_dump(exclude={"seeds"}, exclude_none=True),
            "language": context.train_language,
            "split": spec.train_split,
            "examples": spec.examples,
            "finetune": settings,
            "seed": context.seed,
        },
        parents=(*(f"neurons/{neurons}" for neurons in sorted(sets)), *statistics),
        output=f"adapters/{task}/{run}",
        entries=context.task_module(task),
        # A training step costs about three forward passes.
        cost=3
        * (examples_seen(spec.examples, settings) + sum((adapter.shots or {}).values()))
        * spec.tokens
        / 1000,
    )


def examples_seen(examples: int | None, settings: Mapping[str, Any]) -> float:
    """Training examples that pass, over all epochs or steps that the settings ask for."""
    from langneurons.finetuning import get_recipe

    options = dict(settings)
    recipe = get_recipe(options.pop("recipe", None), **options)
    if recipe.steps:
        return float(recipe.steps * recipe.batch_size * recipe.accumulation)
    return (examples or 5000) * float(recipe.epochs)
