"""Findings on linear subspaces and sparse features."""

from __future__ import annotations

import pandas as pd

from langneurons.reporting.answer.base import Sentence
from langneurons.reporting.numbers import listing, number, with_interval


def subspaces(table: pd.DataFrame, cost: pd.DataFrame | None) -> list[Sentence]:
    """What erasing leaves of the language, beside random subspaces and neurons.

    Args:
        table: The ``subspaces`` table.
        cost: The ``subspaces_cost`` table.
    """
    said = []
    for part, group in table.groupby("part", sort=False):
        one = group[~group["layer"].isin(["-", "all"])]
        before = group[group["kind"] == "none"].iloc[0]
        found = []
        for kind, rows in one.groupby("kind", sort=False):
            row = rows.loc[rows["here"].idxmin()]
            span = _percent(row, "here")
            found.append(f"{kind} (rank {row['rank']}, layer {row['layer']}) {span}")
        said.append(
            Sentence(
                f"{part} ({before['site']}): a linear classifier tells the language of "
                f"{number(100 * before['here'], 0)} % of the tokens untouched; at best "
                f"erased: {listing(found)}; chance is {number(100 * before['chance'], 0)} %."
            )
        )
        if cost is None:
            continue
        rows = cost[(cost["part"] == part) & (cost["measure"] == "perplexity")]
        rows = rows[~rows["layer"].isin(["all"])]
        worst = rows.groupby("kind", sort=False)["value"].max()
        text = [f"{kind} ×{number(value, 2)}" for kind, value in worst.items()]
        said.append(
            Sentence(f"{part}: the largest perplexity ratio in one layer is {listing(text)}.")
        )
    return said


def features(quality: pd.DataFrame, cells: pd.DataFrame | None) -> list[Sentence]:
    """How good the features are, and whether a language's own ones matter to it.

    Args:
        quality: The ``features`` table.
        cells: The ``feature_perplexity`` table.
    """
    said = []
    for name, group in quality.groupby("features", sort=False):
        every = group[group["language"] == "all"]
        rest = group[group["language"] != "all"]
        worst = rest.loc[rest["recovered"].idxmin()]
        said.append(
            Sentence(
                f"{name}: {_span(100 * every['explained'], 0)} % of the variance explained with "
                f"{_span(every['l0'], 1)} features a token, "
                f"{_span(100 * every['dead'], 0)} % dead; "
                f"at least {_percent(worst, 'recovered', '')} of the loss recovered "
                f"({worst['language']}, layer {worst['layer']})."
            )
        )
    if cells is None:
        return said
    for name, group in cells.groupby("features", sort=False):
        own = group[(group["kind"] == "own") & (group["row"] == group["column"])]
        beyond = 0
        for row in own.itertuples():
            draws = group[(group["row"] == row.row) & (group["kind"] != "own")]["ratio"]
            beyond += bool(row.low > 1 and (draws.empty or row.ratio > draws.max()))
        said.append(
            Sentence(
                f"{name}: changing a language's own features raises its perplexity, beyond every "
                f"random and equally active draw, in {beyond} of {len(own)} languages.",
                "finding" if beyond else "none",
            )
        )
    return said


def _percent(row: pd.Series, name: str, prefix: str | None = None) -> str:
    low, high = ("low", "high") if prefix == "" else (f"{name}_low", f"{name}_high")
    return with_interval(100 * row[name], 100 * row[low], 100 * row[high], 0) + " %"


def _span(values: pd.Series, digits: int) -> str:
    low, high = number(float(values.min()), digits), number(float(values.max()), digits)
    return low if low == high else f"{low} to {high}"
