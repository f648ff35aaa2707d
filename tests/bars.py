"""What progress bars say: each ends at the total that it announced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from langneurons import progress


@contextlib.contextmanager
def heard() -> Iterator[list[progress._Lines]]:
    """The bars that begin within the block; behind it each must have come to its total."""
    bars: list[progress._Lines] = []

    class Heard(progress._Lines):
        def __init__(self, description: str, total: float | None, unit: str) -> None:
            super().__init__(description, total, unit)
            bars.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_Lines", Heard)
        yield bars
    assert bars
    for bar in bars:
        assert bar.total in (None, bar.done), (bar.description, bar.done, bar.total)
