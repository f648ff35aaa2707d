"""What a stage of the explorer does."""

from __future__ import annotations

from pathlib import Path

from langneurons.interface.workshop import Workshop


def passages(workshop: Workshop, output: Path, neurons: str) -> None:
    """Gather what the explorer shows of a neuron set."""
    from langneurons.reporting.explorer import gather

    spec = workshop.context.spec_of("passages")
    found = workshop.neurons(neurons)
    tables = gather.explore(
        workshop.statistics(found.site),
        found,
        workshop.statistics_texts(),
        workshop.tokenizer,
        **spec.model_dump(exclude={"neurons"}),
        model=workshop.lm,
    )
    gather.save(tables, output)
