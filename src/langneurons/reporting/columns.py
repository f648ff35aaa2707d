"""Which columns a table of a run must have for its section, and which of them are numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Columns:
    """A table's columns; names are separated by spaces.

    Attributes:
        text: Columns kept as they are.
        numbers: Columns read as numbers: one of only missing values has no type.
        old: Names that earlier versions gave to columns, and what these are called now.
        shown_as: For a table that no section shows: its caption where it is shown as it is.
    """

    text: str = ""
    numbers: str = ""
    old: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    shown_as: str | None = None

    def missing(self, present: Iterable[str]) -> list[str]:
        """Columns that are not among those present, in order."""
        names = set(present)
        return [name for name in f"{self.text} {self.numbers}".split() if name not in names]
