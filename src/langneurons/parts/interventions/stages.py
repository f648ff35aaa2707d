"""The stages that score tasks with units overwritten."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.intervention.words import parse as parse_value
from langneurons.parts.adapters.spec import first_run, trainings
from langneurons.parts.interventions.spec import InterventionsSpec, intervened
from langneurons.parts.tasks.stages import score, tested
from langneurons.stages.stage import Stage


def stages(spec: InterventionsSpec, context: Context) -> list[Stage]:
    """One stage a task, language, value, set and draw."""
    return [
        stage for task in context.spec_of("tasks") or () for stage in _of_task(spec, context, task)
    ]


def _of_task(spec: InterventionsSpec, context: Context, task: str) -> list[Stage]:
    languages = context.spec_of("tasks")[task].languages or context.languages
    test = tested(context, task)
    chosen = [lang for lang in spec.languages or languages if lang in languages]
    under = [first_run(context.spec_of("adapters"), name) for name in intervened(spec)]
    parents_of = {run: trainings(task, run, context.spec_of("adapters")) for run in under}
    draws: list[tuple[str, int | None]] = [("own", None)]
    draws += [("random", seed) for seed in range(spec.random)]
    draws += [("matched", seed) for seed in range(spec.matched)]
    stages = []
    for neurons in spec.neurons:
        parents = context.of_set(neurons)
        for lang in (lang for lang in chosen if lang in context.rows_of(neurons)):
            for value in spec.values:
                for units, seed in draws:
                    cell = {"value": value, "units": units, "neurons": neurons}
                    if seed is not None:
                        cell["seed"] = str(seed)
                    taken = parse_value(value).taken
                    elsewhere = context.statistics_of(taken) if taken else ()
                    needed = dict.fromkeys((*parents, *elsewhere))
                    stages += [
                        score(context, task, run, lang, cell, test, (*parents_of[run], *needed))
                        for run in under
                    ]
    return stages
