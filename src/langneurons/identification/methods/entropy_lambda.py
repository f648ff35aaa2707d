"""Entropy with a bonus for activity, weighed by lambda."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.identification.evidence import activity
from langneurons.identification.method import Found, method
from langneurons.identification.selection import (
    Percentile,
    amount,
    check_share,
    entropy,
    lowest,
    percentile,
)
from langneurons.statistics import Statistics


@method("entropy_lambda", needs="counts")
def entropy_lambda(
    statistics: Statistics,
    *,
    top: float = 0.01,
    bar: float = 0.95,
    lambda_: float | None = None,
    percentile: Percentile = "kthvalue",
    search_limit: float = 0.2,
    search_step: float = 1e-3,
) -> Found:
    """Units of low entropy over languages that are also active; no activity filter before.

    With P_k(u) the activation probability and K languages:

        score(u) = H(u) / ln K - lambda max_k P_k(u) / c,      c = (1/K) sum_{j=1..K} 1/j,

    where H is the entropy of P_k / sum_j P_j (a unit that never fires counts as uniform). The
    lowest round(top L U) scores are taken, and a unit goes to every language whose P_k exceeds the
    ``bar`` percentile of all P (strictly). Without ``lambda_`` the largest one is searched, by
    halving 0 .. ``search_limit`` down to ``search_step``, for which no taken unit is over the bar
    in all K languages. If that already fails at 0, lambda is 0 and ``facts["shared_by_all"]`` says
    how many such units there are. A taken unit may be over the bar nowhere and then belongs to no
    language: ``facts["of_no_language"]``.

    Source: arXiv 2505.21505 (AAAI 2026). On their published counts of Mistral 7B the published
    units come out exactly.

    Complexity: O(L U K), plus O(L U) for each of log2(search_limit / search_step) trials.

    Args:
        statistics: Activation counts of at least two languages.
        top: Share (float) or number (int) of all units to take.
        bar: Percentile of P that a unit must exceed in a language to be given to it.
        lambda_: Weight of the activity; None to search it.
        percentile: ``"kthvalue"`` (as published) or ``"interpolated"``.
        search_limit: Upper end of the search.
        search_step: Width at which the search stops.

    Raises:
        InputError: If lambda or a search bound is negative or not finite.
    """
    for name, value in (("lambda_", lambda_), ("search_limit", search_limit)):
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"{name} must be a number from 0 on, got {value!r}.")
    if not search_step > 0:
        raise InputError(f"search_step must be above 0, got {search_step!r}.")
    check_share("bar", bar, ends=True)
    return _select(
        activity(statistics), statistics.languages, top, bar, lambda_, percentile,
        search_limit, search_step,
    )  # fmt: skip


def _select(
    probabilities: Tensor,
    languages: tuple[str, ...],
    top: float,
    bar: float,
    lambda_: float | None,
    rule: Percentile,
    limit: float,
    step: float,
) -> Found:
    count = amount("top", top, probabilities[0].numel())
    k = len(languages)
    normal = sum(1 / j for j in range(1, k + 1)) / k
    spread = entropy(probabilities) / math.log(k)
    most = probabilities.amax(0) / normal
    bar_value = percentile(probabilities, bar, rule)
    over = probabilities > bar_value
    everywhere = over.all(0)
    weight = lambda_
    if weight is None:
        weight = _search(spread, most, everywhere, count, limit, step)
    score = spread - weight * most
    taken = lowest(score, count)
    return Found(
        scores={
            language: torch.where(over[i], -score, torch.full_like(score, -torch.inf))
            for i, language in enumerate(languages)
        },
        selected={language: taken & over[i] for i, language in enumerate(languages)},
        facts={
            "lambda": weight,
            "bar_value": bar_value,
            "shared_by_all": int((taken & everywhere).sum()),
            "of_no_language": int((taken & ~over.any(0)).sum()),
        },
    )


def _search(
    spread: Tensor, most: Tensor, everywhere: Tensor, count: int, limit: float, step: float
) -> float:
    """Largest lambda, to ``step``, that takes no unit which is over the bar in all languages."""
    low, high = 0.0, limit
    while high - low > step:
        middle = (low + high) / 2
        taken = lowest(spread - middle * most, count)
        if bool((taken & everywhere).any()):
            high = middle
        else:
            low = middle
    return low
