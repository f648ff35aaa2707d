"""Findings on how many neurons there are, where, and what sets share."""

from __future__ import annotations

import pandas as pd

from langneurons.reporting.aggregate import same_language
from langneurons.reporting.numbers import count, listing, number
from langneurons.reporting.sentences import Sentence

MANY_PAIRS = 6
"""More pairs of sets than this (four sets) are shown together instead of one by one."""


def neurons(table: pd.DataFrame) -> list[Sentence]:
    """How many neurons each set found, and in which layers they lie.

    Args:
        table: The ``neurons`` table.
    """
    said: list[Sentence] = []
    for name, group in table.groupby("neurons", sort=False):
        totals = group.groupby("language", sort=False)["units"].sum()
        layers = group.groupby("layer")["total"].first()
        empty = [str(lang) for lang, units in totals.items() if units == 0]
        fewest, most = totals.idxmin(), totals.idxmax()
        share = 100 * totals / layers.sum()
        third = max(1, len(layers) // 3)
        by_layer = group.groupby("layer")["units"].sum().sort_index()
        late = 100 * by_layer.iloc[-third:].sum() / max(1, by_layer.sum())
        early = 100 * by_layer.iloc[:third].sum() / max(1, by_layer.sum())
        if totals.sum() == 0:
            said.append(Sentence(f"{name} found no neurons for any language.", "none"))
            continue
        if totals.min() == totals.max():
            size = (
                f"{number(totals.min(), 0)} neurons for each of {len(totals)} languages "
                f"({number(share.min(), 2)} % of the {number(layers.sum(), 0)} units)"
            )
        else:
            size = (
                f"between {number(totals.min(), 0)} ({fewest}) and {number(totals.max(), 0)} "
                f"({most}) neurons a language ({number(share.min(), 2)} to "
                f"{number(share.max(), 2)} % of the {number(layers.sum(), 0)} units)"
            )
        some = "layer" if third == 1 else f"{third} layers"
        where = (
            f"; {number(early, 0)} % of them lie in the first {some} and "
            f"{number(late, 0)} % in the last {some} of {len(layers)}"
            if len(layers) >= 2
            else ""
        )
        said.append(Sentence(f"{name} found {size}{where}."))
        if empty:
            said.append(Sentence(f"{name} found none for {listing(empty)}.", "caution"))
    return said


def overlaps(table: pd.DataFrame) -> list[Sentence]:
    """Whether two neuron sets agree on a language more than chance would make them.

    Many pairs are put together.

    Args:
        table: The ``overlap`` table.
    """
    rows = same_language(table)
    pairs = rows.groupby(["a", "b"], sort=False)
    if len(pairs) > MANY_PAIRS:
        return _many(pairs["jaccard"].mean(), pairs["above"].sum(), pairs["above"].size())
    said: list[Sentence] = []
    for (a, b), group in pairs:
        mean, chance = group["jaccard"].mean(), group["expected_jaccard"].mean()
        above = int(group["above"].sum())
        text = (
            f"{a} and {b} share a Jaccard index of {number(mean, 3)} on average over "
            f"{count(len(group), 'language')} (from {number(group['jaccard'].min(), 3)} to "
            f"{number(group['jaccard'].max(), 3)}); sets of these sizes drawn by chance would "
            f"share {number(chance, 3)}. "
        )
        if above == 0:
            text += "For no language does the overlap exceed chance (5 %, Bonferroni)."
        else:
            text += (
                f"It exceeds chance (5 %, Bonferroni) for {above} of "
                f"{count(len(group), 'language')}."
            )
        said.append(Sentence(text, "finding" if above else "none"))
    return said


def _many(jaccard: pd.Series, above: pd.Series, languages: pd.Series) -> list[Sentence]:
    """Many pairs of sets in two sentences: the range, and how many exceed chance."""
    most, least = (" and ".join(map(str, pair)) for pair in (jaccard.idxmax(), jaccard.idxmin()))
    every, none = int((above == languages).sum()), int((above == 0).sum())
    text = (
        f"{count(len(jaccard), 'pair')} of neuron sets share a Jaccard index of "
        f"{number(jaccard.median(), 3)} at the median (mean over languages), from "
        f"{number(jaccard.min(), 3)} ({least}) to {number(jaccard.max(), 3)} ({most}). The overlap "
        f"exceeds chance (5 %, Bonferroni) in every language for {count(every, 'pair')}, in none "
        f"for {none}."
    )
    return [Sentence(text, "finding" if every else "none")]


def pooled(overlap: pd.DataFrame) -> pd.DataFrame:
    """Overlap of each pair of sets over all languages: units counted once for each language.

    Args:
        overlap: The ``overlap`` table.

    Returns:
        The table's columns with the sets as ``language_a`` and ``language_b``; the p-value is the
        largest of the languages'.
    """
    sums = {name: (name, "sum") for name in ("size_a", "size_b", "shared", "expected")}
    pairs = same_language(overlap).groupby(["a", "b"], sort=False)
    rows = pairs.agg(**sums, p_value=("p_value", "max")).reset_index()
    rows = rows.rename(columns={"a": "language_a", "b": "language_b"})
    union = rows["size_a"] + rows["size_b"] - rows["shared"]
    return rows.assign(a="neuron set", b="neuron set", jaccard=rows["shared"] / union)
