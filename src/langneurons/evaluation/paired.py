"""Paired tests: is a difference between two results on the same examples more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from langneurons.evaluation.intervals import cluster_sums

RESAMPLES = 9999


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided mid-p value: are examples that only one gets right split evenly?

    The exact test rejects too seldom (2 to 4 % at a level of 5 %); half the probability of the
    split observed is left out, as Fagerland, Lydersen and Laake 2013 recommend ("The McNemar test
    for binary matched-pairs data: mid-p and asymptotic are better than exact conditional").

    Args:
        first: 1 where the first is right, else 0; one an example.
        second: Likewise.
    """
    x, y = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((x & ~y).sum()), int((~x & y).sum())
    return float(split_mid_p(only_first, only_first + only_second))


def split_mid_p(side: ArrayLike, count: ArrayLike) -> NDArray[np.float64]:
    """Two-sided mid-p value of a split of ``count`` coins, either side given; 1 for none."""
    one, number = np.asarray(side), np.asarray(count)
    more = np.maximum(one, number - one)
    # Both tails; where the split is even they are one and the same point.
    observed = stats.binom.pmf(more, number, 0.5) * np.where(2 * more == number, 1, 2)
    p = 2 * stats.binom.sf(more, number, 0.5) + observed / 2
    return np.where(number == 0, 1.0, p)


def permutation(
    difference: ArrayLike,
    clusters: Sequence[object] | NDArray[np.generic] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Two-sided mid-p value of a mean paired difference, signs of whole groups flipped.

    Patterns of signs as extreme as the one observed count half, as in :func:`mcnemar`, which this
    test is for single examples that are right or wrong. All patterns are tried where they are few
    enough.

    Args:
        difference: Paired differences, one an example.
        clusters: Group of each; None flips each example on its own.
        resamples: Patterns drawn otherwise.
        seed: Seed of the draw.
    """
    values = np.asarray(difference, dtype=np.float64)
    (sums,) = cluster_sums(clusters, values)
    # A group without difference is the same under either sign.
    sums = sums[np.abs(sums) > 1e-9 * np.abs(values).max(initial=0.0)]
    if len(sums) == 0:
        return 1.0
    observed, slack = abs(float(sums.sum())), 1e-9 * float(np.abs(sums).sum())

    def counts(signs: NDArray[np.floating[Any]]) -> tuple[int, int]:
        permuted = np.abs(signs @ sums)
        equal = np.abs(permuted - observed) <= slack
        return int(((permuted > observed) & ~equal).sum()), int(equal.sum())

    if len(sums) <= math.log2(resamples):
        bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        larger, equal = counts(1.0 - 2 * bits)
        return (larger + equal / 2) / len(bits)
    rng = np.random.default_rng(seed)
    larger = equal = 0
    piece = max(1, 4_000_000 // len(sums))
    for start in range(0, resamples, piece):
        size = (min(piece, resamples - start), len(sums))
        found = counts(rng.integers(0, 2, size, dtype=np.int8) * 2.0 - 1.0)
        larger, equal = larger + found[0], equal + found[1]
    # The pattern observed is one of them, so that p is never 0.
    return (larger + equal / 2 + 1) / (resamples + 1)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's correction of the p values of one table; missing ones (nan) are left out and stay.

    Args:
        p_values: Raw p values, any sequence or pandas column.

    Returns:
        Corrected p values in the same order, float64.
    """
    from statsmodels.stats.multitest import multipletests

    raw = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(raw.shape, np.nan)
    given = np.isfinite(raw)
    if given.any():
        corrected[given] = multipletests(raw[given], method="holm")[1]
    return corrected
