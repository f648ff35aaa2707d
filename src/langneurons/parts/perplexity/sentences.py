"""Findings on the change of perplexity."""

from __future__ import annotations

import pandas as pd

from langneurons.parts.perplexity.rows import perplexity_rows
from langneurons.reporting.aggregate import CONTROLS, extreme
from langneurons.reporting.numbers import count, listing, with_interval
from langneurons.reporting.sentences import Sentence


def perplexity(table: pd.DataFrame) -> list[Sentence]:
    """Whether a language's own neurons matter to that language, beside others and controls.

    Args:
        table: The ``perplexity`` table.
    """
    said: list[Sentence] = []
    rows = perplexity_rows(table)
    if rows.empty:
        return said
    for (name, value), group in rows.groupby(["neurons", "value"], sort=False):
        n = len(group)
        dominant = int(group["dominant"].sum())
        others = [str(lang) for lang in group.loc[~group["dominant"], "language"]]
        text = (
            f"Setting a language's {name} neurons to {value} raises that language's perplexity "
            f"more than any other's in {dominant} of {n} rows"
            + (f" (not for {listing(others)})" if dominant and others else "")
        )
        for kind, what in (
            ("random", "random neurons"),
            ("matched", "equally active random neurons"),
            ("load", "random experts of the same load"),
        ):
            known = group[group[kind].notna()]
            if len(known):
                beyond = int(known[f"beyond_{kind}"].sum())
                draws = int(known[f"{kind}_draws"].min())
                text += (
                    f", and beyond the largest of {count(draws, 'draw')} of as many {what} "
                    f"in {beyond} of {len(known)}"
                )
        high, low = (extreme(group, "ratio", largest=flag) for flag in (True, False))
        text += (
            f". The largest change is ×{_ratio(high)} ({high['language']}), "
            f"the smallest ×{_ratio(low)} ({low['language']})."
        )
        said.append(Sentence(text, "finding" if carried(group).any() else "none"))
        unclear = [str(x) for x in group.loc[~group["shown"], "language"]]
        if unclear:
            whom = "any language" if len(unclear) == n else listing(unclear)
            said.append(
                Sentence(
                    f"With {name} and {value}, no rise could be shown for {whom}: the interval "
                    "of the ratio reaches down to 1.",
                    "caution",
                )
            )
    return said


def carried(rows: pd.DataFrame) -> pd.Series:
    """Which rises are shown, are the language's own, and lie beyond every control drawn.

    Args:
        rows: What :func:`perplexity_rows` returns.
    """
    held = rows["shown"] & rows["dominant"]
    for kind in CONTROLS:
        held &= rows[f"beyond_{kind}"] | rows[kind].isna()
    return held


def _ratio(row: pd.Series) -> str:
    return with_interval(row["ratio"], row["low"], row["high"], 3 if row["ratio"] < 2 else 2)
