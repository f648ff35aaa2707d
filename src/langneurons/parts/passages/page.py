"""The neuron explorer: distributions, passages, effects and neighbours of single units."""

from __future__ import annotations

from collections.abc import Iterator

from langneurons.reporting.explorer.data import UnitSet, unit_sets
from langneurons.reporting.explorer.stored import read_explored
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing
from langneurons.reporting.sections import Explorer, Section
from langneurons.reporting.sentences import Sentence


def sections(run: Run) -> Iterator[Section]:
    """Single units: distributions, passages, effects and neighbours."""
    names = run.names("neurons", "neurons")
    sets = unit_sets(run, read_explored(run.folder / "passages", names))
    if sets:
        yield Section("explorer", "Neuron explorer", [_lead(sets)], [Explorer(sets)])


def _lead(sets: list[UnitSet]) -> Sentence:
    """How many units there are to look at, and which matters most."""
    shown = [f"{count(len(one.details), 'unit')} of {one.name}" for one in sets]
    here = f"Here one can look at {listing(shown)}, one at a time."
    measured = [(size, one.name, unit) for one in sets for unit, size in one.sizes.items()]
    if not measured:
        return Sentence(f"This run did not measure what single units do. {here}", "caution")
    _, name, (layer, index) = max(measured)
    largest = f"Unit {index} of layer {layer} ({name}) has the largest effect measured."
    return Sentence(f"{largest} {here}")
