"""How a value is written, and over which tokens."""

from __future__ import annotations

from typing import Literal

from langneurons.errors import InputError

Mode = Literal["set", "add", "multiply", "steer", "force"]
Scope = Literal["all", "prompt", "generated", "last", "rest", "text", "padding"]


def check_rows(rows: tuple[int, ...] | None) -> None:
    """Raise :class:`InputError` unless these are rows of a batch, or None for all of them."""
    if rows is not None and (not rows or min(rows) < 0):
        raise InputError(f"rows of a batch are counted from 0, at least one, not {rows!r}.")
