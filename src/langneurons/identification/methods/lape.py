"""Language activation probability entropy (LAPE)."""

from __future__ import annotations

import torch

from langneurons.errors import InputError
from langneurons.identification.evidence import activity
from langneurons.identification.method import Found, method
from langneurons.identification.selection import (
    Cutoff,
    Percentile,
    amount,
    check_share,
    entropy,
    lowest,
    percentile,
)
from langneurons.statistics import Statistics


@method("lape", needs="counts")
def lape(
    statistics: Statistics,
    *,
    top: float = 0.01,
    filter: float = 0.95,
    bar: float = 0.95,
    percentile: Percentile = "kthvalue",
    cutoff: Cutoff = "count",
) -> Found:
    """Units whose activity is concentrated on few languages (lowest entropy).

    With P_k(u) the share of language k's tokens on which unit u is active (activation > 0):

        p_k = P_k / sum_j P_j,      LAPE(u) = - sum_k p_k ln p_k.

    A unit is a candidate if some P_k exceeds the ``filter`` percentile of all P (all units, all
    languages). Of the candidates, the lowest ``top`` share of *all* units by entropy is taken. A
    taken unit goes to every language k with P_k above the ``bar`` percentile of all P, so it may
    belong to several, or to none (``facts["of_no_language"]`` says how many do); a language may
    end with none. Comparisons with percentiles are strict.

    Source: Tang et al. 2024, arXiv 2402.16438. Their release takes percentiles as k-th values and
    a fixed number of units (the defaults here); the code of arXiv 2503.17456 interpolates the
    percentiles and takes every unit whose entropy is at most the interpolated ``top`` quantile of
    all units' entropies (``percentile="interpolated", cutoff="value"``). The two differ by ties
    and by units next to a threshold.

    Complexity: O(L U K) time and memory.

    Args:
        statistics: Activation counts of at least two languages.
        top: Share of all units to take (float), or their number (int).
        filter: Percentile of P that a unit must exceed in some language.
        bar: Percentile of P that a unit must exceed in each language it is given to.
        percentile: ``"kthvalue"`` or ``"interpolated"``.
        cutoff: ``"count"``: exactly round(top x L x U) candidates, ties in unit order;
            ``"value"``: every candidate at or below the interpolated quantile of all units, others
            than candidates counting as infinite. With fewer candidates than asked for, all of them.

    Raises:
        InputError: If no unit passes the filter.
    """
    check_share("filter", filter, ends=True)
    check_share("bar", bar, ends=True)
    probabilities = activity(statistics)
    return entropy_rule(
        probabilities,
        statistics.languages,
        top=top,
        filter=filter,
        bar=bar,
        rule=percentile,
        cutoff=cutoff,
    )


def entropy_rule(
    weights: torch.Tensor,
    languages: tuple[str, ...],
    *,
    top: float,
    filter: float,
    bar: float,
    rule: Percentile,
    cutoff: Cutoff,
) -> Found:
    """The LAPE rule on any non-negative weight per language and unit.

    Args:
        weights: (K, L, U) float64: activation probabilities, or mean attributions.
        languages: The K languages.
        top: Share or number of all units to take.
        filter: Percentile of all weights that a candidate must exceed somewhere.
        bar: Percentile that a unit must exceed in each language it is given to.
        rule: How percentiles are taken.
        cutoff: By count or by value.

    Returns:
        Scores (minus the entropy), selection and thresholds.

    Raises:
        InputError: If no unit exceeds the filter.
    """
    units = weights[0].numel()
    count = amount("top", top, units)
    filter_value = percentile(weights, filter, rule)
    bar_value = filter_value if bar == filter else percentile(weights, bar, rule)
    candidate = (weights > filter_value).any(0)
    if not bool(candidate.any()):
        raise InputError(
            f"no unit exceeds the filter (percentile {filter} = {filter_value:.6g}): "
            "lower the filter, or look whether the statistics hold any activity."
        )
    spread = entropy(weights)
    spread = torch.where(candidate, spread, torch.full_like(spread, torch.inf))
    facts: dict[str, float] = {"filter_value": filter_value, "bar_value": bar_value}
    facts["candidates"] = int(candidate.sum())
    if cutoff == "count":
        taken = lowest(spread, count)
    else:
        limit = percentile(spread, count / units, "interpolated")
        if not limit < torch.inf:  # beyond the last candidate: infinity, or NaN between two of them
            limit = float(spread[candidate].max())
        facts["entropy_cutoff"] = limit
        taken = candidate & (spread <= limit)
    over = weights > bar_value
    facts["of_no_language"] = int((taken & ~over.any(0)).sum())
    return Found(
        scores={
            language: torch.where(over[k], -spread, torch.full_like(spread, -torch.inf))
            for k, language in enumerate(languages)
        },
        selected={language: taken & over[k] for k, language in enumerate(languages)},
        facts=facts,
    )
