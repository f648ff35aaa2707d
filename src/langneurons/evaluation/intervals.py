"""Bootstrap intervals of ratios of sums, resampling clusters (premises, paragraphs, documents).

Accuracy, F1, the log of a perplexity and the differences of two of them are all the sum of
something over examples divided by their number, so that one statistic serves them all.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 2000
Method = Literal["percentile", "BCa", "basic"]


def cluster_sums(
    clusters: Sequence[Hashable] | NDArray[np.generic] | None, *columns: ArrayLike
) -> tuple[NDArray[np.float64], ...]:
    """Sums of each column within each cluster, in the order of first occurrence.

    Args:
        clusters: Cluster of each row; None makes each row its own.
        *columns: Numbers, one a row.

    Returns:
        One float64 array (clusters,) a column.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if clusters is None:
        return tuple(arrays)
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.intp)
    return tuple(
        np.bincount(index, weights=a, minlength=len(numbers)).astype(np.float64) for a in arrays
    )


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    clusters: Sequence[Hashable] | NDArray[np.generic] | None = None,
    level: float = 0.95,
    method: Method = "percentile",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of ``sum(numerator) / sum(denominator)``, resampling whole clusters.

    Args:
        numerator: One number a row.
        denominator: One number a row, such as 1 for each example or its number of tokens.
        clusters: Cluster of each row; None resamples rows.
        level: Confidence level.
        method: Interval of SciPy's bootstrap; ``"BCa"`` corrects bias and skew.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        (low, high); (nan, nan) with fewer than two clusters, where nothing can be resampled.
    """
    top, bottom = cluster_sums(clusters, numerator, denominator)
    if len(top) < 2:
        return float("nan"), float("nan")
    if np.ptp(top) == 0 and np.ptp(bottom) == 0:
        value = float(top.sum() / bottom.sum())
        return value, value

    def statistic(
        a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1
    ) -> NDArray[np.float64]:
        return np.asarray(a.sum(axis=axis) / b.sum(axis=axis))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (top, bottom),
            statistic,
            paired=True,
            vectorized=True,
            confidence_level=level,
            method=method,
            n_resamples=resamples,
            batch=max(1, 4_000_000 // len(top)),
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


def ratio_standard_error(
    numerator: ArrayLike,
    denominator: ArrayLike,
    clusters: Sequence[Hashable] | NDArray[np.generic] | None = None,
) -> float:
    """Cluster-robust standard error of ``sum(numerator) / sum(denominator)`` (linearised).

    With residuals e_g = numerator_g - ratio x denominator_g over G clusters:
    sqrt(G / (G - 1) x sum e_g^2) / sum(denominator). nan with fewer than two clusters.
    """
    top, bottom = cluster_sums(clusters, numerator, denominator)
    if len(top) < 2:
        return float("nan")
    residual = top - top.sum() / bottom.sum() * bottom
    return float(np.sqrt(len(top) / (len(top) - 1) * (residual**2).sum()) / bottom.sum())
