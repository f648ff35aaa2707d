"""What each kind of stage does: one function a kind, from values in the run directory to more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from langneurons.artifacts import write_table
from langneurons.study.plan import Stage
from langneurons.study.schema import adapter_units
from langneurons.study.workshop import Workshop

Run = Callable[..., None]
KINDS: dict[str, Run] = {}


def _stage(run: Run) -> Run:
    KINDS[run.__name__.strip("_")] = run
    return run


def run(workshop: Workshop, stage: Stage) -> None:
    """Do one stage and write its output into the run directory."""
    KINDS[stage.kind](workshop, workshop.out / stage.output, **stage.arguments)


@_stage
def _statistics(workshop: Workshop, output: Path, language: str) -> None:
    from langneurons.statistics import collect

    spec = workshop.config.statistics
    collect(
        workshop.lm,
        {language: workshop.texts[language].statistics},
        site=spec.site,
        tokens=spec.tokens,
        block=spec.block,
        rows=spec.rows,
        seed=workshop.config.seed,
        output=output.parent,
    )


@_stage
def _neurons(workshop: Workshop, output: Path, neurons: str) -> None:
    from langneurons.identification import METHODS, identify

    spec = workshop.config.neurons[neurons]
    reads_model = METHODS.get(spec.method).needs == "model"
    found = identify(
        workshop.statistics(),
        method=spec.method,
        languages=spec.languages,
        model=workshop.lm if reads_model else None,
        texts=workshop.statistics_texts() if reads_model else None,
        **spec.parameters,
    )
    found.save(output)


@_stage
def _overlap(workshop: Workshop, output: Path) -> None:
    names = list(workshop.config.neurons)
    tables = []
    for position, first in enumerate(names):
        for second in names[position:]:
            table = workshop.neurons(first).overlap(workshop.neurons(second))
            tables.append(table.assign(a=first, b=second))
    write_table(output, pd.concat(tables, ignore_index=True))


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
        value=workshop.value(spec.value, language),
        controls={"random": spec.random, "matched": spec.matched},
        stats=workshop.statistics(),
        baseline=workshop.baseline,
        others=workshop.neurons(neurons),
        seed=workshop.config.seed,
    )
    write_table(output, change.table.assign(neurons=neurons, value=spec.value))


@_stage
def _finetune(workshop: Workshop, output: Path, task: str, adapter: str, seed: int) -> None:
    from langneurons.finetuning import finetune

    config = workshop.config
    spec = config.adapters[adapter]
    task_spec = config.tasks[task]
    workshop.forget_adapter()
    finetune(
        workshop.lm,
        workshop.task(task),
        lang=config.train_language,
        neurons=workshop.adapter_units(adapter_units(spec), seed=seed),
        attention=spec.attention,
        split=task_spec.train_split,
        limit=task_spec.examples,
        seed=config.seed + seed,
        output=output,
        **{**config.finetune, **task_spec.finetune},
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
        intervention = Intervention(
            units=workshop.units(neurons, language, units, int(seed or 0)),
            value=workshop.value(value, language),
            site=workshop.config.statistics.site,
        )
    spec = workshop.config.tasks[task]
    scores = evaluate(
        workshop.adapted(task, adapter),
        workshop.task(task),
        language,
        intervention=intervention,
        split=spec.split,
        limit=spec.limit,
    )
    scores.save(output)


@_stage
def _rules(workshop: Workshop, output: Path, task: str) -> None:
    write_table(output, pd.DataFrame(workshop.rules(task)))


@_stage
def _tables(workshop: Workshop, output: Path) -> None:
    from langneurons.study import tables

    tables.write(workshop, output)
