"""Findings on the change of perplexity."""

from __future__ import annotations

from typing import Any

import pandas as pd

from langneurons.reporting.aggregate import CONTROLS, extreme, perplexity_rows, records
from langneurons.reporting.answer.base import Sentence
from langneurons.reporting.numbers import count, listing, with_interval


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
        for kind, what in (("random", "random"), ("matched", "equally active random")):
            known = group[group[kind].notna()]
            if len(known):
                beyond = int(known[f"beyond_{kind}"].sum())
                draws = int(known[f"{kind}_draws"].min())
                text += (
                    f", and beyond the largest of {count(draws, 'draw')} of as many {what} "
                    f"neurons in {beyond} of {len(known)}"
                )
        high, low = (extreme(group, "ratio", largest=flag) for flag in (True, False))
        text += (
            f". The largest change is ×{_ratio(high)} ({high['language']}), "
            f"the smallest ×{_ratio(low)} ({low['language']})."
        )
        said.append(Sentence(text, "finding" if _carried(group).any() else "none"))
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


def _carried(rows: pd.DataFrame) -> pd.Series:
    """Rows whose rise is shown, is the language's own, and lies beyond every control drawn."""
    held = rows["shown"] & rows["dominant"]
    for kind in CONTROLS:
        held &= rows[f"beyond_{kind}"] | rows[kind].isna()
    return held


def sweep(table: pd.DataFrame) -> list[Sentence]:
    """What shares of units and bands of layers do; values are left to the figure.

    Args:
        table: The ``sweep`` table.
    """
    said: list[Sentence] = []
    if "axis" not in table.columns:
        return said
    lines = table[table["axis"] != "value"]
    for (language, axis, value), group in lines.groupby(["language", "axis", "value"], sort=False):
        own = group[group["kind"] == "own"]
        beyond = [str(row["point"]) for row in records(own) if _beyond(row, group)]
        n = own["point"].nunique()
        if axis == "share":
            first, last = own.iloc[0], own.iloc[-1]
            text = (
                f"{language}: {value} written over the language's neurons raises perplexity "
                f"×{_ratio(first)} where the method takes {first['point']} of all units "
                f"({int(first['count'])} of them the language's) and ×{_ratio(last)} at "
                f"{last['point']} ({int(last['count'])})"
            )
        else:
            top = extreme(own, "ratio", largest=True)
            text = (
                f"{language}: of {n} bands of layers, {value} does most in layers {top['point']} "
                f"(×{_ratio(top)}, {int(top['count'])} units)"
            )
        where = listing(beyond) if beyond else "no point"
        text += f"; its interval lies above every control's ratio at {where}."
        said.append(Sentence(text, "finding" if beyond else "none"))
    return said


def _beyond(row: dict[str, Any], group: pd.DataFrame) -> bool:
    """Whether own units do more than every control at the same point."""
    controls = group[(group["point"] == row["point"]) & (group["kind"] != "own")]["ratio"]
    return bool(len(controls) and row["low"] > max(1.0, float(controls.max())))


def _ratio(row: pd.Series) -> str:
    return with_interval(row["ratio"], row["low"], row["high"], 3 if row["ratio"] < 2 else 2)
