"""Parts of a split, in the notation of Datasets: ``test[:50%]``, ``dev+test[100:200]``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from langneurons.errors import InputError

T = TypeVar("T")

_PART = re.compile(r"\s*([\w.-]+)\s*(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?\s*")
_SYNONYMS = {"validation": "dev", "val": "dev", "valid": "dev"}


@dataclass(frozen=True)
class SplitPart:
    """A named split, or a slice of it by rows or by percent.

    Attributes:
        name: ``"train"``, ``"dev"``, ``"test"`` or a name of the data's own.
        start: First row, or percent where it ends in ``%``; None for the beginning.
        stop: Row after the last; None for the end.
    """

    name: str
    start: str | None = None
    stop: str | None = None

    def of(self, rows: Sequence[T], key: Callable[[T], object]) -> list[T]:
        """The part of ``rows``; a percentage is moved down to where ``key`` changes."""
        start = 0 if self.start is None else _place(self.start, rows, key)
        stop = len(rows) if self.stop is None else _place(self.stop, rows, key)
        return list(rows[start:stop])


def _place(bound: str, rows: Sequence[T], key: Callable[[T], object]) -> int:
    if not bound.endswith("%"):
        place = int(bound)
        return max(len(rows) + place, 0) if place < 0 else min(place, len(rows))
    percent = int(bound[:-1])
    place = min(max(len(rows) * (percent if percent >= 0 else 100 + percent) // 100, 0), len(rows))
    while 0 < place < len(rows) and key(rows[place - 1]) == key(rows[place]):
        place -= 1
    return place


def parse_split(text: str) -> tuple[SplitPart, ...]:
    """Read a split expression.

    Raises:
        InputError: If it is not one.
    """
    parts = []
    for piece in text.split("+"):
        match = _PART.fullmatch(piece)
        if match is None:
            raise InputError(
                f"split {text!r} cannot be read: write it as 'test', 'test[:50%]' or "
                "'dev+test[0:100]'."
            )
        name, start, stop = match.groups()
        parts.append(SplitPart(_SYNONYMS.get(name, name), start, stop))
    return tuple(parts)


def sample_groups(rows: Sequence[T], limit: int, seed: int, key: Callable[[T], object]) -> list[T]:
    """At most ``limit`` rows, as whole groups in an order drawn by ``seed``; the last may be cut.

    The order depends on a group's name alone, so that parallel data give parallel samples.
    """
    if limit >= len(rows):
        return list(rows)
    return [rows[index] for index in sorted(drawn_order(rows, seed, key)[:limit])]


def drawn_order(rows: Sequence[T], seed: int, key: Callable[[T], object]) -> list[int]:
    """Indices of all rows in the order in which :func:`sample_groups` takes them."""
    members: dict[object, list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(key(row), []).append(index)
    order = sorted(members, key=lambda name: hashlib.blake2b(f"{seed}\0{name}".encode()).digest())
    return [index for name in order for index in members[name]]
