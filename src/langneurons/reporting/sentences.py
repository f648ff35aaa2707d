"""What a finding is, and how numbers stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from langneurons.reporting.numbers import count, listing, number, with_interval

Tone = Literal["finding", "none", "caution", "failure"]


@dataclass(frozen=True)
class Sentence:
    """One finding.

    Attributes:
        text: What is said.
        tone: "finding" for an effect, "none" where none was shown, "caution" for a limit,
            "failure" for what the run could not do.
    """

    text: str
    tone: Tone = "finding"


def points(row: pd.Series, low: str = "low", high: str = "high") -> str:
    """A difference in points with its interval."""
    return with_interval(row["difference"], row[low], row[high], 1, signed=True) + " points"


def detectable(table: pd.DataFrame) -> list[Sentence]:
    """How small a difference the comparisons of a table could have missed."""
    still = table[table["mde"] == 0]  # no item changed: no variance, and no smallest difference
    said = []
    if len(still):
        text = (
            f"In {count(len(still), 'comparison')} not a single answer changed; from these nothing "
            "follows on how small a difference could have been found."
        )
        said.append(Sentence(text, "caution"))
    known = table.loc[table["mde"] > 0, "mde"]
    if known.empty:
        return said
    low, middle, high = (number(x, 1) for x in (known.min(), known.median(), known.max()))
    which = "the" if low == high else "the median"
    span = "" if low == high else f"; {low} to {high}"
    text = (
        f"Where no difference is shown, one smaller than about {middle} points ({which} minimum "
        f"detectable effect{span}) could have gone unseen."
    )
    return [*said, Sentence(text, "caution")]


def places(rows: pd.DataFrame) -> str:
    """Where comparisons lie: ``mini-nli: hi, ur; mini-qa: zh``.

    Args:
        rows: Rows with the columns task and language.
    """
    return "; ".join(
        f"{task}: {listing(list(dict.fromkeys(map(str, group['language']))))}"
        for task, group in rows.groupby("task", sort=False)
    )


def counted(found: pd.DataFrame, what: str, more: str | None = None) -> str:
    """``2 gains (mini-qa: zh)``: how many, and in which tasks and languages."""
    where = f" ({places(found)})" if len(found) else ""
    return count(len(found), what, more) + where


def tone(low: float, high: float, null: float) -> Tone:
    """Whether an interval lies on one side of what no effect would give."""
    return "finding" if low > null or high < null else "none"


def ratio(row: pd.Series) -> str:
    """A perplexity ratio with its interval; of a large one no more digits than can be read."""
    digits = 3 if row["ratio"] < 10 else 1 if row["ratio"] < 100 else 0
    return "×" + with_interval(row["ratio"], row["low"], row["high"], digits)
