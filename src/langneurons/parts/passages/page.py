"""The neuron explorer: distributions, passages, effects and neighbours of single units."""

from __future__ import annotations

from collections.abc import Iterator

from langneurons.reporting.explorer.data import unit_sets
from langneurons.reporting.explorer.stored import read_explored
from langneurons.reporting.inputs import Run
from langneurons.reporting.sections import Explorer, Section


def sections(run: Run) -> Iterator[Section]:
    """Single units: distributions, passages, effects and neighbours."""
    names = run.names("neurons", "neurons")
    sets = unit_sets(run, read_explored(run.folder / "passages", names))
    if sets:
        yield Section("explorer", "Neuron explorer", (), [Explorer(sets)])
