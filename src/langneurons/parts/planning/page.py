"""What it would take to see a small effect: sizes for the next experiment."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, listing, number
from langneurons.reporting.sections import Section
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables import Column, Table


def sections(run: Run) -> Iterator[Section]:
    """Examples, seeds and tokens at which one point, or one percent, would be found."""
    table = run.table("planning")
    if table is not None:
        title = "How much would it take to see one point?"
        yield Section("planning", title, planned(table), [needed(table)])


def planned(planning: pd.DataFrame) -> list[Sentence]:
    """Sizes at which one point of each task would be found, beside what there is.

    Args:
        planning: The ``planning`` table.
    """
    said = []
    flat = planning[~(planning["detectable"] > 0)]
    planning = planning[planning["detectable"] > 0]
    for name, part in planning[planning["of"] == "examples"].groupby("name", sort=False):
        small = part[part["detectable"] <= 1]
        text = (
            f"{name}: one point would be found four times in five with "
            f"{count(part['needed'].median(), 'example')} a language (median over languages; "
            f"{number(part['size'].median(), 0)} here, which find "
            f"{number(part['detectable'].median(), 1)} points)"
        )
        enough = f"; here it would be found in {listing(list(small['lang']))}" if len(small) else ""
        said.append(Sentence(f"{text}{enough}.", "caution" if small.empty else "finding"))
    for row in planning[planning["of"] == "seeds"].to_dict("records"):
        text = (
            f"{row['name']}: two trainings that differ by one point take "
            f"{count(row['needed'], 'seed')} each; {number(row['size'], 0)} here find "
            f"{number(row['detectable'], 1)} points."
        )
        said.append(Sentence(text, "caution" if row["detectable"] > 1 else "finding"))
    for row in flat[flat["of"] == "seeds"].to_dict("records"):
        text = (
            f"{row['name']}: every score was the same with each of "
            f"{count(row['size'], 'seed')}, as at a floor or a ceiling; how many seeds a "
            "difference takes cannot be told."
        )
        said.append(Sentence(text, "caution"))
    return said


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
