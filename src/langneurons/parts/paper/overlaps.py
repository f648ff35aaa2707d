"""Do overwrites cost more where a language shares neurons with the language trained on?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import permutation_test, spearmanr

from langneurons.parts.tasks.comparisons import over_seeds, trained_on
from langneurons.reporting import style
from langneurons.reporting.aggregate import LEVEL, records
from langneurons.reporting.figures.canvas import blank, short, tip
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import number, with_interval
from langneurons.reporting.tables import Column, Table

FEWEST = 3
"""Languages without which there is nothing to correlate."""

DRAWS = 9_999
"""Permutations of languages, where there are more than that: seven languages have 5,040."""


def cells(run: Run) -> pd.DataFrame:
    """Each overwrite of a language's own neurons beside their overlap with the training language's.

    Args:
        run: A run with one training language.

    Returns:
        Columns task, metric, adapter, neurons, value, language, overlap (Jaccard index of the
        language's neurons and the training language's, in the same set), difference, low, high (in
        points, against no intervention), n; one row a language that was not trained on, empty
        where the run has no overwrites.
    """
    columns = ["task", "metric", "adapter", "neurons", "value", "language"]
    scores, overlap = run.table("scores"), run.table("overlap")
    known = trained_on(run)
    if scores is None or overlap is None or len(known) != 1:
        return pd.DataFrame(columns=[*columns, "overlap", "difference", "low", "high", "n"])
    shared = {}
    for row in records(overlap[overlap["a"] == overlap["b"]]):
        pair = (row["language_a"], row["language_b"])
        for one, other in (pair, pair[::-1]):
            if other == known[0]:
                shared[row["a"], one] = row["jaccard"]
    rows = over_seeds(scores[scores["units"] == "own"])
    rows = rows[~rows["language"].isin(known)]
    found = pd.DataFrame(
        {
            **{name: rows[name] for name in ("task", "metric", "adapter", "neurons")},
            "value": rows["intervention"],
            "language": rows["language"],
            "overlap": [
                shared.get(key, np.nan)
                for key in zip(rows["neurons"], rows["language"], strict=True)
            ],
            "difference": rows["difference"],
            "low": rows["difference_low"],
            "high": rows["difference_high"],
            "n": rows["n"],
        }
    )
    return found.dropna(subset=["overlap", "difference"]).reset_index(drop=True)


def correlations(data: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of overlap and change over languages, one row a value written.

    The p-value is that of permuting languages (exact for up to seven of them), which is all that
    is drawn at random: values and draws of one language are no further evidence. Holm's correction
    runs over one task and metric.

    Args:
        data: What :func:`cells` returns.

    Returns:
        Columns task, metric, adapter, neurons, value, languages, rho, p_value, p_holm and
        p_least, the smallest p-value that so many languages can give. rho is NaN where overlap or
        change is the same for every language.
    """
    from langneurons.evaluation import holm

    rows = []
    keys = ["task", "metric", "adapter", "neurons", "value"]
    for key, group in data.groupby(keys, sort=False):
        if len(group) < FEWEST:
            continue
        x = group["overlap"].to_numpy(dtype=float)
        y = group["difference"].to_numpy(dtype=float)
        rho, p_value = _correlation(x, y)
        least = 2 / float(np.prod(np.arange(1, len(group) + 1, dtype=float)))
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "languages": len(group),
                "rho": rho,
                "p_value": p_value,
                "p_least": max(least, 2 / (DRAWS + 1)),
            }
        )
    table = pd.DataFrame(rows)
    if len(table):
        table["p_holm"] = table.groupby(["task", "metric"])["p_value"].transform(holm)
    return table


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    found = permutation_test(
        (x,),
        lambda drawn: float(spearmanr(drawn, y).statistic),
        permutation_type="pairings",
        vectorized=False,
        n_resamples=DRAWS,
        rng=np.random.default_rng(0),
    )
    return float(found.statistic), float(found.pvalue)


def table(data: pd.DataFrame) -> Table:
    """The correlations as a table.

    Args:
        data: What :func:`correlations` returns.
    """
    return Table(
        "paper_overlaps",
        "Overlap with the training language against what overwrites cost",
        "Spearman's correlation, over languages not trained on, of the Jaccard index of a "
        "language's neurons and the training language's with the change of score when the "
        "language's own neurons are overwritten. p by permuting languages; least p: the smallest "
        "that so many languages can give, so that a large p from few languages says nothing.",
        data,
        [
            Column("task", "task"),
            Column("metric", "metric"),
            Column("adapter", "adapter"),
            Column("neurons", "neurons"),
            Column("value", "value written"),
            Column("languages", "languages", "count"),
            Column("rho", "Spearman's rho", "number", 2),
            Column("p_value", "p", "p"),
            Column("p_holm", "p, Holm", "p"),
            Column("p_least", "least p", "p"),
        ],
    )


def figure(data: pd.DataFrame) -> Figure:
    """Overlap against change, a mark a language, set and value.

    Args:
        data: Rows of :func:`cells` with one task and metric.
    """
    drawn = blank(3.4)
    axes = drawn.subplots()
    for order, (name, rows) in enumerate(data.groupby("neurons", sort=False)):
        colour, marker = style.series(order)
        for row in records(rows):
            axes.plot([row["overlap"]] * 2, [row["low"], row["high"]], color=colour, lw=0.8)
            (dot,) = axes.plot(row["overlap"], row["difference"], marker, color=colour, ms=4)
            change = with_interval(row["difference"], row["low"], row["high"], 1, signed=True)
            tip(
                dot,
                f"{row['language']}, {name}, {row['value']}: overlap {number(row['overlap'], 3)}, "
                f"{change} points",
            )
        axes.plot([], [], marker, color=colour, label=short(str(name)))
        for language, own in rows.groupby("language", sort=False):
            place = (own["overlap"].iloc[0], own["high"].max())
            axes.annotate(
                str(language), place, xytext=(0, 3), textcoords="offset points", ha="center",
                fontsize=6,
            )  # fmt: skip
    axes.axhline(0, color=style.INK, lw=0.7)
    axes.set_xlabel("overlap with the training language's neurons (Jaccard)")
    axes.set_ylabel("change, points")
    drawn.legend(loc="outside upper left", ncols=3)
    return drawn


def sentence_of(data: pd.DataFrame) -> str:
    """What the correlations say, in a sentence.

    Args:
        data: What :func:`correlations` returns.
    """
    tested = data.dropna(subset=["rho"])
    if tested.empty:
        return "Overlap with the training language or its cost is the same for every language."
    sure = tested[tested["p_holm"] < LEVEL]
    power = int((tested["p_least"] < LEVEL).sum())
    words = (
        f"Overlap with the training language's neurons and the change under overwrites: "
        f"{len(sure)} of {len(tested)} correlations over languages significant (median rho "
        f"{number(tested['rho'].median(), 2, signed=True)})"
    )
    if power < len(tested):
        words += f"; {len(tested) - power} could not have been, having too few languages"
    return words + "."
