"""Findings on the change of perplexity."""

from __future__ import annotations

import pandas as pd

from langneurons.parts.perplexity.rows import perplexity_rows
from langneurons.reporting.aggregate import CONTROLS, extreme
from langneurons.reporting.numbers import count, listing, with_interval
from langneurons.reporting.sentences import Sentence, Tone


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
        n, held = len(group), carried(group)
        tone: Tone = "finding" if held.any() else "none"
        others = [str(lang) for lang in group.loc[~held, "language"]]
        control = any(group[kind].notna().any() for kind in CONTROLS)
        most = "most, and beyond every control," if control else "most"
        said.append(
            Sentence(
                f"Set to {value}, a language's {name} neurons raise that language's perplexity "
                f"{most} in {int(held.sum())} of {n} languages"
                + (f" (not for {listing(others)})." if held.any() and others else "."),
                tone,
            )
        )
        said.append(Sentence(_parts(str(name), str(value), group), tone))
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


def _parts(name: str, value: str, group: pd.DataFrame) -> str:
    """What the lead sentence is made of: own row, each control, largest and smallest change."""
    text = (
        f"{name}, {value}: more than any other's in {int(group['dominant'].sum())} of {len(group)}"
    )
    for kind, what in (
        ("random", "random neurons"),
        ("matched", "equally active random neurons"),
        ("load", "random experts of the same load"),
    ):
        known = group[group[kind].notna()]
        if len(known):
            draws = count(int(known[f"{kind}_draws"].min()), "draw")
            beyond = int(known[f"beyond_{kind}"].sum())
            text += f"; beyond the largest of {draws} of as many {what} in {beyond} of {len(known)}"
    high, low = (extreme(group, "ratio", largest=flag) for flag in (True, False))
    return (
        f"{text}. The largest change is ×{_ratio(high)} ({high['language']}), "
        f"the smallest ×{_ratio(low)} ({low['language']})."
    )


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
