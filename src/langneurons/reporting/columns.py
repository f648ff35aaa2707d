"""What a part says of its tables: the columns they must have, and how their rows are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple


class UnitFact(NamedTuple):
    """What a table's row says of a single unit.

    Attributes:
        what: What was measured.
        result: What came out.
        size: How much the unit matters, above 0, so that units can be put in order; None where
            that is not what was measured.
    """

    what: str
    result: str
    size: float | None = None


@dataclass(frozen=True)
class Columns:
    """A table's columns; names are separated by spaces.

    Attributes:
        text: Columns kept as they are.
        numbers: Columns read as numbers: one of only missing values has no type.
        old: Names that earlier versions gave to columns, and what these are called now.
        shown_as: For a table that no section shows: its caption where it is shown as it is.
        unit: For a table with the columns layer and index: what the explorer says of a row, if
            anything.
    """

    text: str = ""
    numbers: str = ""
    old: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    shown_as: str | None = None
    unit: Callable[[Mapping[str, Any]], UnitFact | None] | None = None

    def missing(self, present: Iterable[str]) -> list[str]:
        """Columns that are not among those present, in order."""
        names = set(present)
        return [name for name in f"{self.text} {self.numbers}".split() if name not in names]


OVERLAP = {
    "language": "language_a",
    "other": "language_b",
    "size": "size_a",
    "other_size": "size_b",
}
"""Columns of :meth:`NeuronSet.overlap` as a table of two sets names them."""
