"""The site question: the paper's crossed site against the right one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from langneurons.parts.crossing import figures
from langneurons.reporting.aggregate import records
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import number, with_interval
from langneurons.reporting.sections import Section, Tabs, panels
from langneurons.reporting.sentences import Sentence, tone
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """The paper's crossed site against the right one."""
    table = run.table("crossing")
    if table is None:
        return
    caption = (
        "Perplexity ratio when {} are overwritten with a statistic of the activation (right), "
        "with one of the pre-activation as the paper's released code does (paper), with the same "
        "moved into the activation's range, and with the pre-activation's at its own place."
    )
    yield Section(
        "crossing",
        "The site question",
        list(sentences(table)),
        [
            Tabs("crossing", panels(table, "crossing", figures.crossing, caption)),
            plain(
                table,
                "crossing",
                "Every reading",
                "Readings of a statistic: perplexity ratio, share of values out of the "
                "activation's range, and on rows of the paper's reading the loss beyond the "
                "reading in range (nats a token), its share of the whole damage, and the loss "
                "against the right reading.",
            ),
        ],
    )


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """How much of the damage of the paper's overwrite is values the unit can never have.

    Args:
        table: The ``crossing`` table.
    """
    rows = table[(table["reading"] == "paper") & (table["kind"] == "own")]
    for row in records(rows):
        head = (
            f"{row['neurons']}, {row['language']}, {row['value']}: the paper's reading (statistics "
            "from before the activation function, written behind it) writes "
            f"{number(100 * row['impossible'], 0)} % impossible values"
        )
        if pd.isna(row["share"]):
            yield Sentence(f"{head}; its damage cannot be told from none.", "none")
            continue
        share = with_interval(
            100 * row["share"], 100 * row["share_low"], 100 * row["share_high"], 0
        )
        yield Sentence(
            f"{head}, and these make {share} % of its damage{_random_share(table, row)}.",
            tone(row["share_low"], row["share_high"], 0),
        )


_CELL = ("neurons", "language", "value")


def _random_share(table: pd.DataFrame, row: dict[str, Any]) -> str:
    """The same share for as many random units, over their draws."""
    same = (table[list(_CELL)] == [row[key] for key in _CELL]).all(axis=1)
    drawn = table[same & (table["reading"] == "paper") & (table["kind"] == "random")]["share"]
    known = 100 * drawn.dropna()
    if known.empty:
        return ""
    low, high = number(float(known.min()), 0), number(float(known.max()), 0)
    return f" (of as many random units': {low if low == high else f'{low} to {high}'} %)"
