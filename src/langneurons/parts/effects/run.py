"""What a stage that looks for the units that matter most does."""

from __future__ import annotations

from pathlib import Path

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def effects(workshop: Workshop, output: Path, neurons: str, language: str) -> None:
    """Overwrite the units of a language one at a time."""
    from langneurons.evaluation import unit_effects

    spec, held = (workshop.context.spec_of(word) for word in ("effects", "perplexity"))
    table = unit_effects(
        workshop.lm,
        workshop.neurons(neurons)[language],
        workshop.held_out_blocks(language),
        **workshop.change(held.value, language, workshop.context.site(neurons)),
        site=workshop.context.written(neurons),
        keep=spec.keep,
        screen=spec.screen,
        baseline=workshop.untouched(language),
    )
    write_table(output, table.assign(language=language, neurons=neurons, value=held.value))
