"""What a stage that asks what deactivates a unit does."""

from __future__ import annotations

from pathlib import Path

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def deactivation(workshop: Workshop, output: Path, language: str) -> None:
    """Write values over a language's units, and look at what else they do."""
    from langneurons.evaluation.deactivation import deactivate

    spec = workshop.context.spec_of("deactivation")
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
        baseline=workshop.untouched(language),
        seed=workshop.context.seed,
    )
    for name, table in (("change", done.table), ("residual", done.residual)):
        write_table(
            output / f"{name}.parquet", table.assign(neurons=spec.neurons, language=language)
        )
