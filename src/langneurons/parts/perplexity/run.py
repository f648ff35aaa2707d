"""What a stage of the perplexity-change matrix does."""

from __future__ import annotations

from pathlib import Path

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def perplexity(workshop: Workshop, output: Path, neurons: str, language: str) -> None:
    """Perplexity of every column with one row's units overwritten, beside controls."""
    from langneurons.evaluation import perplexity_change

    spec = workshop.context.spec_of("perplexity")
    columns = spec.languages or workshop.context.languages
    change = perplexity_change(
        workshop.lm,
        workshop.neurons(neurons).select([language]),
        {lang: workshop.held_out_blocks(lang) for lang in columns},
        **workshop.change(spec.value, language, workshop.context.site(neurons)),
        controls={"random": spec.random, "matched": spec.matched, "load": spec.load},
        stats=workshop.statistics(workshop.context.site(neurons)),
        baseline=workshop.baseline,
        seed=workshop.context.seed,
    )
    write_table(output, change.table.assign(neurons=neurons, value=spec.value))
