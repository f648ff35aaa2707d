"""What a stage that asks where a value was taken does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def crossing(workshop: Workshop, output: Path, neurons: str, language: str) -> None:
    """Write statistics of either site at either site."""
    from langneurons.evaluation.crossing import cross

    spec = workshop.context.spec_of("crossing")
    table = cross(
        workshop.lm,
        workshop.neurons(neurons),
        language,
        workshop.held_out_blocks(language),
        spec.values,
        workshop.statistics("mlp.act"),
        workshop.statistics("mlp.pre"),
        random=spec.random,
        matched=spec.matched,
        batched=_per_batch(workshop, language) if spec.per_batch else None,
        baseline=workshop.untouched(language),
        seed=workshop.context.seed,
    )
    write_table(output, table.assign(neurons=neurons, language=language))


def _per_batch(workshop: Workshop, language: str) -> Any:
    """Statistics of the activation whose quantiles are means over batches, as released."""
    from langneurons.statistics import collect

    spec = workshop.context.spec_of("statistics")
    return collect(
        workshop.lm,
        {language: workshop.texts[language].statistics},
        site="mlp.act",
        tokens=spec.tokens,
        block=spec.block,
        rows=0,
        quantiles="batch-mean",
    )
