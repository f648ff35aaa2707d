"""The stages of a study that train and score adapters on tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langneurons.intervention.words import parse as parse_value
from langneurons.study.parts import adapter_units, choice_of, intervened
from langneurons.study.plan import Identity, Stage, of_set, rows_of, statistics_of, task_module
from langneurons.study.schema import StudyConfig, adapter_runs


def task_stages(config: StudyConfig, identity: Identity) -> list[Stage]:
    """Trainings, scores and rules of every task, adapter and language."""
    stages: list[Stage] = []
    for task, spec in config.tasks.items():
        source = _source(config, identity, task)
        test = tested(config, identity, task)
        languages = spec.languages or config.languages
        for run in adapter_runs(config):
            stages.append(_finetune(config, task, run, source))
            stages += [
                _score(config, task, run, lang, {"value": "none", "units": "-"}, test, ())
                for lang in languages
            ]
        stages += _interventions(config, task, languages, test)
        stages.append(
            Stage(
                f"rules/{task}",
                "rules",
                {"task": task},
                test,
                (),
                f"rules/{task}.parquet",
                entries=task_module(config, task),
            )
        )
    return stages


def _source(config: StudyConfig, identity: Identity, task: str) -> dict[str, Any]:
    return {"task": identity.tasks[task], "model": identity.model, "dtype": config.dtype}


def tested(config: StudyConfig, identity: Identity, task: str) -> dict[str, Any]:
    """What determines a task's scores, but for the model's adapter and overwrites."""
    spec = config.tasks[task]
    return {
        **_source(config, identity, task),
        "limit": spec.limit,
        "split": spec.split,
        "seed": config.seed,
        "protocol": config.protocol,
    }


def first_run(config: StudyConfig, adapter: str) -> str:
    """Of an adapter that is trained several times, the first training."""
    return next(run for run, item in adapter_runs(config).items() if item == (adapter, 0))


def _finetune(config: StudyConfig, task: str, run: str, source: dict[str, Any]) -> Stage:
    spec = config.tasks[task]
    name, seed = adapter_runs(config)[run]
    adapter = config.adapters[name]
    chosen = [*adapter_units(adapter), *([adapter.hold.neurons] if adapter.hold else [])]
    named = {choice: choice_of(choice) for choice in chosen if choice not in ("none", "all")}
    sets = {neurons for _, neurons, _ in named.values()}
    settings = {**config.finetune, **spec.finetune}
    # A value held comes from statistics, and so do units of the same activity.
    reading = [neurons for kind, neurons, _ in named.values() if kind == "matched"]
    reading += [named[adapter.hold.neurons][1]] if adapter.hold else []
    statistics = dict.fromkeys(
        stage for neurons in reading for stage in statistics_of(config, config.site(neurons))
    )
    return Stage(
        name=f"finetune/{task}/{run}",
        kind="finetune",
        arguments={"task": task, "adapter": name, "seed": seed},
        settings={
            **source,
            "adapter": adapter.model_dump(exclude={"seeds"}, exclude_none=True),
            "language": config.train_language,
            "split": spec.train_split,
            "examples": spec.examples,
            "finetune": settings,
            "seed": config.seed,
        },
        parents=(*(f"neurons/{neurons}" for neurons in sorted(sets)), *statistics),
        output=f"adapters/{task}/{run}",
        entries=task_module(config, task),
        # A training step costs about three forward passes.
        cost=3 * examples_seen(spec.examples, settings) * spec.tokens / 1000,
    )


def examples_seen(examples: int | None, settings: Mapping[str, Any]) -> float:
    """Training examples that pass, over all epochs or steps that the settings ask for."""
    from langneurons.finetuning import get_recipe

    options = dict(settings)
    recipe = get_recipe(options.pop("recipe", None), **options)
    if recipe.steps:
        return float(recipe.steps * recipe.batch_size * recipe.accumulation)
    return (examples or 5000) * float(recipe.epochs)


def _score(
    config: StudyConfig,
    task: str,
    adapter: str,
    language: str,
    cell: dict[str, Any],
    test: dict[str, Any],
    parents: tuple[str, ...],
) -> Stage:
    label = "-".join(str(part) for part in cell.values() if part != "-")
    return Stage(
        name=f"scores/{task}/{adapter}/{language}/{label}",
        kind="scores",
        arguments={"task": task, "adapter": adapter, "language": language, **cell},
        settings=test,
        parents=(f"finetune/{task}/{adapter}", *parents),
        output=f"scores/{task}/{adapter}/{language}/{label}.parquet",
        scratch=(f"scores/{task}/{adapter}/{language}/{label}.parquet.parts",),
        entries=task_module(config, task),
        cost=(test["limit"] or 1000) * config.tasks[task].tokens / 1000,
    )


def _interventions(
    config: StudyConfig, task: str, languages: list[str], test: dict[str, Any]
) -> list[Stage]:
    spec = config.interventions
    if spec is None:
        return []
    chosen = [lang for lang in spec.languages or languages if lang in languages]
    under = [first_run(config, name) for name in intervened(spec)]
    draws: list[tuple[str, int | None]] = [("own", None)]
    draws += [("random", seed) for seed in range(spec.random)]
    draws += [("matched", seed) for seed in range(spec.matched)]
    stages = []
    for neurons in spec.neurons:
        parents = of_set(config, neurons)
        for lang in (lang for lang in chosen if lang in rows_of(config, neurons)):
            for value in spec.values:
                for units, seed in draws:
                    cell = {"value": value, "units": units, "neurons": neurons}
                    if seed is not None:
                        cell["seed"] = str(seed)
                    taken = parse_value(value).taken
                    elsewhere = statistics_of(config, taken) if taken else ()
                    needed = dict.fromkeys((*parents, *elsewhere))
                    stages += [_score(config, task, run, lang, cell, test, tuple(needed))
                               for run in under]  # fmt: skip
    return stages
