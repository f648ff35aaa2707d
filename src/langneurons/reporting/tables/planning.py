"""Sizes at which a small effect would be found."""

from __future__ import annotations

import pandas as pd

from langneurons.reporting.tables.base import Column, Table


def needed(planning: pd.DataFrame) -> Table:
    """What each kind of comparison could show and what one point would take.

    Args:
        planning: The ``planning`` table.
    """
    return Table(
        "planning",
        "What one point would take",
        "From the variance measured: the effect found four times in five at the size of this run "
        "(points of a score; percent of a perplexity), and the size at which one point, or one "
        "percent, would be found. Examples: paired, median over the interventions on own units. "
        "Seeds: of each of two trainings, independent of each other. Tokens: own units on own "
        "text.",
        planning,
        [
            Column("of", "what"),
            Column("name", "comparison"),
            Column("lang", "language"),
            Column("size", "size here", "count"),
            Column("detectable", "detectable here", "number", 2),
            Column("needed", "needed for 1", "count"),
        ],
    )
