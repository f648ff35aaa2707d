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
    text = f"{listing(shown)}, one by one"
    measured = [(size, one.name, unit) for one in sets for unit, size in one.sizes.items()]
    if measured:
        _, name, (layer, index) = max(measured)
        text += f"; the largest measured effect is that of unit {index} in layer {layer} ({name})"
    return Sentence(f"{text}.", "finding" if measured else "none")
