"""What the stages beyond neurons do: one function a kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from langneurons.artifacts import write_table
from langneurons.study.workshop import Workshop


def _baseline(workshop: Workshop, language: str) -> Any:
    from langneurons.evaluation import perplexity

    if language not in workshop.baseline:
        blocks = workshop.held_out_blocks(language)
        workshop.baseline[language] = perplexity(workshop.lm, blocks)
    return workshop.baseline[language]


def _deactivation(workshop: Workshop, output: Path, language: str) -> None:
    from langneurons.beyond.deactivation import deactivate

    spec = workshop.config.deactivation
    assert spec is not None
    found = workshop.neurons(spec.neurons)
    done = deactivate(
        workshop.lm,
        found,
        language,
        workshop.held_out_blocks(language),
        {name: workshop.change(name, language, found.site) for name in spec.values},
        workshop.statistics(found.site),
        random=spec.random,
        matched=spec.matched,
        residual_blocks=spec.residual_blocks,
        baseline=_baseline(workshop, language),
        seed=workshop.config.seed,
    )
    for name, table in (("change", done.table), ("residual", done.residual)):
        write_table(
            output / f"{name}.parquet", table.assign(neurons=spec.neurons, language=language)
        )


def _crossing(workshop: Workshop, output: Path, neurons: str, language: str) -> None:
    from langneurons.beyond.crossing import cross

    spec = workshop.config.crossing
    assert spec is not None
    table = cross(
        workshop.lm,
        workshop.neurons(neurons),
        language,
        workshop.held_out_blocks(language),
        spec.values,
        workshop.statistics("mlp.act"),
        workshop.statistics("mlp.pre"),
        random=spec.random,
        baseline=_baseline(workshop, language),
        seed=workshop.config.seed,
    )
    write_table(output, table.assign(neurons=neurons, language=language))


def _polysemanticity(workshop: Workshop, output: Path, language: str) -> None:
    from langneurons.beyond.polysemanticity import polysemanticity

    spec = workshop.config.polysemanticity
    assert spec is not None
    found = workshop.neurons(spec.neurons)
    task = workshop.task(spec.task)
    tested = []
    if spec.tested:
        tested = task.examples(language, spec.test_split, spec.tested, workshop.config.seed)
    done = polysemanticity(
        workshop.lm,
        found,
        language,
        workshop.statistics(found.site),
        task,
        task.examples(language, spec.split, spec.examples, workshop.config.seed),
        tested,
        **workshop.change(spec.value, language, found.site),
        matched=spec.matched,
        pool=spec.pool,
        threshold=spec.threshold,
        harm_units=spec.harm_units,
        seed=workshop.config.seed,
    )
    about = {"neurons": spec.neurons, "language": language, "task": spec.task}
    for name, table in (
        ("units", done.units),
        ("shares", done.shares),
        ("correlations", done.correlations),
    ):
        write_table(output / f"{name}.parquet", table.assign(**about))


KINDS: dict[str, Callable[..., None]] = {
    "deactivation": _deactivation,
    "crossing": _crossing,
    "polysemanticity": _polysemanticity,
}
