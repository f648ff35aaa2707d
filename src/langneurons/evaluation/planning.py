"""How much would it take to see a small effect? Sizes for the next experiment, from this one."""

from __future__ import annotations

import bisect
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from langneurons.evaluation.power import detectable_over_seeds, multiplier

POINTS = 1.0
"""The effect asked for: one point of a score, or one percent of a perplexity."""


def size_needed(size: float, detectable: float, effect: float = POINTS) -> float:
    """Size at which ``effect`` is found, from the effect that ``size`` finds.

    A standard error falls with the square root of the number of independent observations:
    size x (detectable / effect)^2.

    Args:
        size: Examples or tokens of the comparison made.
        detectable: Its minimum detectable effect.
        effect: Effect asked for, in the same unit.
    """
    return size * (detectable / effect) ** 2


def seeds_needed(spread: float, effect: float = POINTS) -> int:
    """Seeds of each of two trainings at which a paired t test finds a difference of ``effect``.

    The first seeds of one and of the other are taken for independent, so that their difference
    spreads by the square root of two more; see
    :func:`~langneurons.evaluation.power.detectable_over_seeds`.

    Args:
        spread: Standard deviation between seeds of one training.
        effect: Difference asked for, in the same unit.
    """

    def enough(seeds: int) -> bool:
        return detectable_over_seeds(math.sqrt(2) * spread, seeds) <= effect

    few, many = 2, 2
    while not enough(many):
        few, many = many, 2 * many
    return bisect.bisect_left(range(many + 1), True, few, many, key=enough)


def planning(scores: pd.DataFrame, perplexity: pd.DataFrame) -> pd.DataFrame:
    """What each kind of comparison of a run could show, and what one point would take.

    Args:
        scores: The ``scores`` table of a run, or an empty one. Examples: the median over the
            interventions on own units of a task, metric and language that changed any example.
            Seeds: adapters trained
            with several, their variance averaged over languages.
        perplexity: The ``perplexity`` table of a run, or an empty one. Tokens: own units on own
            text; the standard error is that of the logarithm of the ratio, from its interval.

    Returns:
        One row each: ``of`` (``examples``, ``seeds``, ``tokens``), ``name`` (task and metric, or
        neuron set), ``lang`` (``all`` for seeds), ``size`` (as measured), ``detectable``
        (points or percent) and ``needed`` (for one point, or one percent).
    """
    rows = [*_examples(scores), *_seeds(scores), *_tokens(perplexity)]
    return pd.DataFrame(rows, columns=["of", "name", "lang", "size", "detectable", "needed"])


def _examples(scores: pd.DataFrame) -> list[dict[str, Any]]:
    if not len(scores):
        return []
    # Where no example changed, p is 1 and there is no variance to plan from.
    varies = scores["p_value"] < 1
    own = scores[(scores["units"] == "own") & scores["mde"].notna() & varies]
    rows = []
    for (task, metric, language), part in own.groupby(["task", "metric", "language"], sort=False):
        size, detectable = int(part["n"].max()), float(part["mde"].median())
        needed = math.ceil(size_needed(size, detectable))
        rows.append(_row("examples", f"{task}, {metric}", language, size, detectable, needed))
    return rows


def _seeds(scores: pd.DataFrame) -> list[dict[str, Any]]:
    if not len(scores):
        return []
    plain = scores[scores["intervention"] == "none"]
    rows = []
    for (task, metric, adapter), part in plain.groupby(["task", "metric", "adapter"], sort=False):
        seeds = int(part.groupby("language")["seed"].nunique().min())
        if seeds < 2:
            continue
        spread = math.sqrt(float(part.groupby("language")["value"].var().mean()))
        name = f"{task}, {metric}, {adapter}"
        detectable = detectable_over_seeds(math.sqrt(2) * spread, seeds)
        rows.append(_row("seeds", name, "all", seeds, detectable, seeds_needed(spread)))
    return rows


def _tokens(perplexity: pd.DataFrame) -> list[dict[str, Any]]:
    if not len(perplexity):
        return []
    own = perplexity[(perplexity["kind"] == "own") & (perplexity["row"] == perplexity["column"])]
    rows = []
    for line in own[own["units"] > 0].to_dict("records"):
        width = math.log(line["high"] / line["low"]) if line["low"] > 0 else math.nan
        freedom = line["documents"] - 1
        error = width / (2 * stats.t.ppf(0.975, freedom)) if freedom > 0 else math.nan
        if not np.isfinite(error) or error == 0:
            continue
        detectable = multiplier(freedom) * error
        needed = math.ceil(size_needed(line["tokens"], detectable, math.log1p(POINTS / 100)))
        percent = 100 * math.expm1(detectable)
        row = _row("tokens", line["neurons"], line["column"], line["tokens"], percent, needed)
        rows.append(row)
    return rows


def _row(
    of: str, name: object, lang: object, size: int, detectable: float, needed: int
) -> dict[str, Any]:
    return {
        **{"of": of, "name": str(name), "lang": str(lang), "size": size},
        **{"detectable": detectable, "needed": needed},
    }
