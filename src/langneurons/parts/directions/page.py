"""Directions between languages: how far they tell them apart."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import number
from langneurons.reporting.sections import Section
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """How far each direction tells its language from others, beside random ones."""
    table = run.table("directions")
    if table is None:
        return
    caption = (
        "Length of each direction, and how far its language lies from the others along it "
        "(difference of means in standard deviations within them, on the rows it was found on)."
    )
    yield Section(
        "directions",
        "Directions between languages",
        list(sentences(table)),
        [plain(table, "directions", "Directions between languages", caption)],
    )


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """The layer in which a set's directions tell languages apart best, beside random ones.

    Args:
        table: The ``directions`` table.
    """
    for name, group in table.groupby("directions", sort=False):
        own = group[group["kind"] == "own"].groupby("layer")["apart"].mean()
        best = int(own.idxmax())
        text = (
            f"{name}: languages lie farthest from the others along their direction in layer "
            f"{best}, {number(float(own[best]), 1)} standard deviations on average"
        )
        drawn = group[(group["kind"] == "random") & (group["layer"] == best)]["apart"].abs()
        if len(drawn):
            text += f"; along random ones {number(float(drawn.mean()), 1)} either way"
        yield Sentence(f"{text}; on the rows they were found on, so too far.", "none")
