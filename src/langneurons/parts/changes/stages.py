"""The stages that score tasks under other changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langneurons.interface.context import Context
from langneurons.parts.adapters.spec import trainings
from langneurons.parts.changes.spec import ChangesSpec, cells, under
from langneurons.parts.tasks.stages import tested
from langneurons.stages.stage import Stage


def stages(specs: Mapping[str, ChangesSpec], context: Context) -> list[Stage]:
    """One stage a part, task, training, language and change."""
    found = list(_batches(specs, context))
    for name, spec in specs.items():
        for task in context.spec_of("tasks") or ():
            for run in under(spec, context):
                for lang in _languages(spec, context, task):
                    for cell in cells(spec, context, lang):
                        found.append(_stage(name, spec, context, task, run, lang, cell))
    return found


def _languages(spec: ChangesSpec, context: Context, task: str) -> list[str]:
    there = context.spec_of("tasks")[task].languages or context.languages
    return [lang for lang in spec.languages or there if lang in there]


def _batches(specs: Mapping[str, ChangesSpec], context: Context) -> Iterator[Stage]:
    """Percentiles that are means over batches, a language each."""
    wanted = {
        (context.site(str(spec.neurons)), lang)
        for spec in specs.values()
        if spec.what == "percentiles"
        for lang in spec.languages or context.languages
        if lang != context.train_language
    }
    statistics = context.spec_of("statistics")
    for site, lang in sorted(wanted):
        yield Stage(
            name=_batch_stage(site, lang),
            kind="batch_percentiles",
            arguments={"site": site, "language": lang},
            settings={
                "statistics": statistics.model_dump(),
                "model": context.of.model,
                "dtype": context.dtype,
                "text": context.of.texts[lang],
            },
            parents=(),
            output=_batch_stage(site, lang),
            cost=statistics.tokens / 1000,
        )


def _batch_stage(site: str, language: str) -> str:
    return f"batch_percentiles/{site}/{language}"


def _stage(
    name: str,
    spec: ChangesSpec,
    context: Context,
    task: str,
    run: str,
    language: str,
    cell: dict[str, Any],
) -> Stage:
    label = "-".join(str(part) for part in cell.values())
    where = f"{task}/{run}/{language}"
    trained = trainings(task, run, context.spec_of("adapters"))
    reads: tuple[str, ...] = ()
    if spec.what == "subspace":
        reads = context.statistics_of(spec.site)
    elif spec.what == "features":
        reads = (f"features/{spec.features}", f"feature_languages/{spec.features}")
    else:
        reads = context.of_set(str(spec.neurons))
    if spec.what == "percentiles":
        reads = (*reads, _batch_stage(context.site(str(spec.neurons)), language))
    test = tested(context, task)
    said_by_cells = {"adapter", "languages", "of", "values", "random", "matched"}
    return Stage(
        name=f"changes/{name}/{where}/{label}",
        kind="task_change",
        arguments={
            "name": name,
            "task": task,
            "adapter": run,
            "language": language,
            **cell,
            **({} if trained else {"trained": False}),
        },
        settings={
            **test,
            **spec.model_dump(exclude=said_by_cells),
            "train_language": context.train_language,
        },
        parents=(*trained, f"scores/{where}/none", *reads),
        output=f"scores/{where}/{name}-{label}.parquet",
        entries=context.task_module(task),
        cost=(test["limit"] or 1000) * context.spec_of("tasks")[task].tokens / 1000,
    )
