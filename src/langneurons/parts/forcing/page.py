"""Which language is written with neurons switched off and on."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.parts.forcing import figures
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, number
from langneurons.reporting.sections import Picture, Section
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """Which language is written with neurons switched off and on."""
    table = run.table("forcing")
    if table is None:
        return
    caption = (
        "Language detected in the generated text with one language's neurons switched off and "
        "another's switched on: share of outputs, and their number."
    )
    yield Section(
        "part-forcing",
        "Forcing the output language",
        list(sentences(table)),
        [
            Picture("forcing", caption, figures.forcing(table)),
            plain(table, "forcing", "Forcing the output language", caption),
        ],
    )


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """Whether output changes its language.

    Args:
        table: The ``forcing`` table.
    """
    if "intervention" not in table.columns:
        return
    for (off, on), group in table.groupby(["off", "on"], sort=False):
        shares = {}
        for name, rows in group.groupby("intervention", sort=False):
            found = rows[rows["language_detected"] == on]
            n = int(rows["n"].max())
            hits = 0.0 if found.empty else float(found["share"].iloc[0])
            shares[str(name)] = (hits, n, found)
        if not {"none", "off and on"} <= set(shares):
            continue
        (before, _, _), (after, n, found) = shares["none"], shares["off and on"]
        ends = ""
        if len(found) and {"low", "high"} <= set(found.columns):
            row = found.iloc[0]
            ends = f" [{number(100 * row['low'], 0)}, {number(100 * row['high'], 0)}]"
        low = float(found["low"].iloc[0]) if ends else after
        yield Sentence(
            f"With {off} neurons off and {on} neurons on, {number(100 * after, 0)} %{ends} of "
            f"{count(n, 'output')} are {on}; {number(100 * before, 0)} % are without intervention.",
            "finding" if low > before else "none",
        )
