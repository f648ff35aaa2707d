"""What it would take to see a small effect: sizes for the next experiment."""

from __future__ import annotations

from collections.abc import Iterator

from langneurons.reporting.answer import planned
from langneurons.reporting.inputs import Run
from langneurons.reporting.sections.base import Section
from langneurons.reporting.tables.planning import needed


def planning(run: Run) -> Iterator[Section]:
    """Examples, seeds and tokens at which one point, or one percent, would be found."""
    table = run.table("planning")
    if table is not None:
        title = "How much would it take to see one point?"
        yield Section("planning", title, planned(table), [needed(table)])
