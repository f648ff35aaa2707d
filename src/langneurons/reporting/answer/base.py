"""What a finding is, and how numbers stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from langneurons.reporting.numbers import number, with_interval

Tone = Literal["finding", "none", "caution"]

QUESTION = (
    "Can a language's own neurons be used to improve zero-shot transfer to that language, either "
    "by overwriting their activations at test time or by fine-tuning only them?"
)


@dataclass(frozen=True)
class Sentence:
    """One finding.

    Attributes:
        text: What is said.
        tone: "finding" for an effect, "none" where none was shown, "caution" for a limit.
    """

    text: str
    tone: Tone = "finding"


def points(row: pd.Series, low: str = "low", high: str = "high") -> str:
    """A difference in points with its interval."""
    return with_interval(row["difference"], row[low], row[high], 1, signed=True) + " points"


def detectable(table: pd.DataFrame) -> list[Sentence]:
    """How small a difference the comparisons of a table could have missed."""
    known = table["mde"].dropna()
    if known.empty:
        return []
    low, middle, high = (number(x, 1) for x in (known.min(), known.median(), known.max()))
    which = "the" if low == high else "the median"
    span = "" if low == high else f"; {low} to {high}"
    text = (
        f"Where no difference is shown, one smaller than about {middle} points ({which} minimum "
        f"detectable effect{span}) could have gone unseen."
    )
    return [Sentence(text, "caution")]


def shows(found: int) -> str:
    """``1 shows`` or ``3 show``."""
    return f"{found} {'shows' if found == 1 else 'show'}"
