"""What each kind of stage does: one function a kind, from values in the run directory to more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from langneurons.artifacts import read_table, write_table
from langneurons.intervention.words import parse as parse_value
from langneurons.study.beyond.stages import KINDS as BEYOND
from langneurons.study.code import reach
from langneurons.study.forcing import fallback, forcing
from langneurons.study.parts import HoldSpec, adapter_units, choice_of
from langneurons.study.passages import passages
from langneurons.study.plan import Stage
from langneurons.study.schema import StudyConfig
from langneurons.study.shards import merge, shard
from langneurons.study.sweeps import sweep
from langneurons.study.workshop import Workshop

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.intervention import Intervention

Run = Callable[..., None]
KINDS: dict[str, Run] = {}


def _stage(run: Run) -> Run:
    KINDS[run.__name__.strip("_")] = run
    return run


def kinds() -> dict[str, Run]:
    """Every kind of stage and the function that does it."""
    return {
        **KINDS,
        **BEYOND,
        "passages": passages,
        "sweep": sweep,
        "forcing": forcing,
        "fallback": fallback,
        "shard": shard,
        "merge": merge,
    }


def run(workshop: Workshop, stage: Stage) -> dict[str, str]:
    """Do one stage and write its output into the run directory; returns what it was made with."""
    kinds()[stage.kind](workshop, workshop.out / stage.output, **stage.arguments)
    return workshop.made_with()


def reached(stage: Stage) -> dict[str, str]:
    """Digests of the code that a stage's kind reaches, by module."""
    return reach(kinds()[stage.kind], stage.entries, (Workshop, StudyConfig))


@_stage
def _statistics(workshop: Workshop, output: Path, language: str, site: str | None = None) -> None:
    from langneurons.statistics import collect

    spec = workshop.config.statistics
    collect(
        workshop.lm,
        {language: workshop.texts[language].statistics},
        site=site or spec.site,
        tokens=spec.tokens,
        block=spec.block,
        rows=spec.rows,
        seed=workshop.config.seed,
        protocol=workshop.config.protocol,
        output=output.parent,
    )


@_stage
def _neurons(workshop: Workshop, output: Path, neurons: str) -> None:
    from langneurons.identification import METHODS, identify

    spec = workshop.config.neurons[neurons]
    method = METHODS.get(spec.method)
    reads_model = method.needs == "model"
    site = workshop.config.site(neurons)
    parameters = {"site": site} if reads_model and "site" in method.parameters and spec.site else {}
    found = identify(
        workshop.statistics(site),
        method=spec.method,
        languages=spec.languages,
        model=workshop.lm if reads_model else None,
        texts=workshop.statistics_texts() if reads_model else None,
        **{**parameters, **spec.parameters},
    )
    # In the paper's protocol units are found before the activation and overwritten after it.
    found.at(workshop.config.written(neurons)).save(output)


@_stage
def _derived(workshop: Workshop, output: Path, neurons: str) -> None:
    spec = workshop.config.neurons[neurons]
    assert spec.derive is not None
    found = workshop.neurons(spec.derive)
    if spec.without_top:
        found = _without_top(workshop, found, spec.derive, spec.without_top)
    if spec.exclusive:
        found = found.exclusive()
    found.save(output)


def _without_top(workshop: Workshop, found: NeuronSet, name: str, count: int) -> NeuronSet:
    """The set without the units that do most of the damage in their own language."""
    from langneurons.identification import Units

    top = {}
    for lang in found:
        table = read_table(workshop.out / "effects" / name / f"{lang}.parquet").head(count)
        top[lang] = Units(table["layer"].tolist(), table["index"].tolist())
    return found.without(top, {"without_top": count})


@_stage
def _effects(workshop: Workshop, output: Path, neurons: str, language: str) -> None:
    from langneurons.evaluation import unit_effects

    spec, held = workshop.config.effects, workshop.config.perplexity
    assert spec is not None
    assert held is not None
    table = unit_effects(
        workshop.lm,
        workshop.neurons(neurons)[language],
        workshop.held_out_blocks(language),
        **workshop.change(held.value, language, workshop.config.site(neurons)),
        site=workshop.config.written(neurons),
        keep=spec.keep,
        screen=spec.screen,
        baseline=workshop.untouched(language),
    )
    write_table(output, table.assign(language=language, neurons=neurons, value=held.value))


@_stage
def _overlap(workshop: Workshop, output: Path) -> None:
    names = workshop.config.found
    tables = []
    for position, first in enumerate(names):
        for second in names[position:]:
            if workshop.config.site(first) != workshop.config.site(second):
                continue
            table = workshop.neurons(first).overlap(workshop.neurons(second))
            tables.append(table.assign(a=first, b=second))
    whole = pd.concat(tables, ignore_index=True)
    names_of = {
        "language": "language_a",
        "other": "language_b",
        "size": "size_a",
        "other_size": "size_b",
    }
    write_table(output, whole.rename(columns=names_of))


@_stage
def _perplexity(workshop: Workshop, output: Path, neurons: str, language: str) -> None:
    from langneurons.evaluation import perplexity_change

    spec = workshop.config.perplexity
    assert spec is not None
    columns = spec.languages or workshop.config.languages
    change = perplexity_change(
        workshop.lm,
        workshop.neurons(neurons).select([language]),
        {lang: workshop.held_out_blocks(lang) for lang in columns},
        **workshop.change(spec.value, language, workshop.config.site(neurons)),
        controls={"random": spec.random, "matched": spec.matched},
        stats=workshop.statistics(workshop.config.site(neurons)),
        baseline=workshop.baseline,
        seed=workshop.config.seed,
    )
    write_table(output, change.table.assign(neurons=neurons, value=spec.value))


@_stage
def _finetune(workshop: Workshop, output: Path, task: str, adapter: str, seed: int) -> None:
    from langneurons.finetuning import finetune

    config = workshop.config
    spec = config.adapters[adapter]
    task_spec = config.tasks[task]
    split = {"split": task_spec.train_split} if task_spec.train_split else {}
    workshop.forget_adapter()
    finetune(
        workshop.lm,
        workshop.task(task),
        lang=config.train_language,
        neurons=workshop.adapter_units(adapter_units(spec), seed=seed),
        site=workshop.adapter_site(adapter_units(spec)),
        attention=spec.attention,
        limit=task_spec.examples,
        seed=config.seed + (spec.seed or 0) + seed,
        intervention=_held(workshop, spec.hold, seed),
        output=output,
        **{**split, **config.finetune, **task_spec.finetune},
    )


def _held(workshop: Workshop, spec: HoldSpec | None, seed: int) -> Intervention | None:
    """What is overwritten while an adapter learns, with its language's own statistics."""
    from langneurons.identification import Units
    from langneurons.intervention import Intervention

    if spec is None:
        return None
    units = workshop.adapter_units([spec.neurons], seed)
    assert isinstance(units, Units)
    _, neurons, language = choice_of(spec.neurons)
    return Intervention(
        units=units,
        site=workshop.config.written(neurons),
        **workshop.change(spec.value, language, workshop.config.site(neurons)),
    )


@_stage
def _scores(
    workshop: Workshop,
    output: Path,
    task: str,
    adapter: str,
    language: str,
    value: str,
    units: str,
    neurons: str | None = None,
    seed: str | None = None,
) -> None:
    from langneurons.evaluation import evaluate
    from langneurons.intervention import Intervention

    intervention = None
    if value != "none" and neurons is not None:
        site = workshop.config.site(neurons)
        intervention = Intervention(
            units=workshop.units(neurons, language, units, int(seed or 0)),
            site=parse_value(value).written or workshop.config.written(neurons),
            scope=parse_value(value).scope,
            **workshop.change(value, language, site),
        )
    spec = workshop.config.tasks[task]
    evaluate(
        workshop.adapted(task, adapter),
        workshop.task(task),
        language,
        intervention=intervention,
        split=spec.split,
        limit=spec.limit,
        protocol=workshop.config.protocol,
        output=output,
    )


@_stage
def _rules(workshop: Workshop, output: Path, task: str) -> None:
    write_table(output, pd.DataFrame(workshop.rules(task)))


@_stage
def _tables(workshop: Workshop, output: Path) -> None:
    from langneurons.study import tables

    tables.write(workshop, output)
