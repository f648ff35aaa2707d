"""What a stage that asks what else a unit says does."""

from __future__ import annotations

from pathlib import Path

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def polysemanticity(workshop: Workshop, output: Path, language: str) -> None:
    """Information about task and language in a language's units, and what each one costs."""
    from langneurons.evaluation.polysemanticity import polysemanticity as measure

    spec = workshop.context.spec_of("polysemanticity")
    found = workshop.neurons(spec.neurons)
    seed = workshop.context.seed
    tested = []
    if spec.tested:
        tested = workshop.examples(spec.task, language, spec.test_split, spec.tested, seed)
    done = measure(
        workshop.lm,
        found,
        language,
        workshop.statistics(found.site),
        workshop.task(spec.task),
        workshop.examples(spec.task, language, spec.split, spec.examples, seed),
        tested,
        **workshop.change(spec.value, language, found.site),
        matched=spec.matched,
        pool=spec.pool,
        threshold=spec.threshold,
        harm_units=spec.harm_units,
        seed=seed,
    )
    about = {"neurons": spec.neurons, "language": language, "task": spec.task}
    for name, table in (
        ("units", done.units),
        ("shares", done.shares),
        ("correlations", done.correlations),
    ):
        write_table(output / f"{name}.parquet", table.assign(**about))
