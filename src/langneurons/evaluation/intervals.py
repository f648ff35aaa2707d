"""Intervals of ratios of sums over groups of examples (premises, paragraphs, documents).

Accuracy, F1, the log of a perplexity and the differences of two of them are all the sum of
something over examples divided by their number, with one group-robust standard error. How often
these intervals hold what they should is in docs/evaluation.md (``python -m bench calibration``).
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 2000
Method = Literal["t", "percentile", "BCa", "basic"]


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
    method: Method = "t",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of ``sum(numerator) / sum(denominator)`` over independent clusters.

    Args:
        numerator: One number a row.
        denominator: One number a row, such as 1 for each example or its number of tokens.
        clusters: Cluster of each row; None takes rows for independent.
        level: Confidence level.
        method: ``"t"``: the linearised standard error with a t quantile of clusters - 1 degrees of
            freedom; else an interval of SciPy's bootstrap of whole clusters, which with few
            clusters is too narrow (``"BCa"`` corrects bias and skew).
        resamples: Number of resamples of a bootstrap.
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
    if method == "t":
        ratio = float(top.sum() / bottom.sum())
        half = _quantile(level, len(top)) * ratio_standard_error(top, bottom)
        return ratio - half, ratio + half

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


def share_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable] | NDArray[np.generic] | None = None,
    *,
    level: float = 0.95,
) -> tuple[float, float]:
    """Wilson interval of the mean of values from 0 to 1 in clusters.

    The number of examples is the effective one, mean x (1 - mean) / squared standard error, and the
    quantile that of t with clusters - 1 degrees of freedom (Kott and Carr 1997; Franco, Little,
    Louis and Slud 2019, "Comparative study of confidence intervals for proportions in complex
    sample surveys"). Where all values are 0, or all 1, clusters count as single examples: the
    interval of a perfect score does not end at its lower side too.

    Args:
        values: One an example.
        clusters: Cluster of each; None takes examples for independent.
        level: Confidence level.

    Returns:
        (low, high) within 0 and 1; (nan, nan) with fewer than two clusters.
    """
    given = np.asarray(values, dtype=np.float64)
    sums, sizes = cluster_sums(clusters, given, np.ones_like(given))
    if len(sums) < 2:
        return float("nan"), float("nan")
    mean = float(sums.sum() / sizes.sum())
    variance, spread = ratio_standard_error(sums, sizes) ** 2, mean * (1 - mean)
    # Equal clusters, as after averaging, would make it infinite.
    count = spread / variance if variance > 1e-12 * max(spread, 1e-12) else float(len(sums))
    z = _quantile(level, len(sums))
    weight = z * z / count
    centre = (mean + weight / 2) / (1 + weight)
    half = z / (1 + weight) * np.sqrt(max(spread, 0.0) / count + weight / (4 * count))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def difference_interval(
    difference: ArrayLike,
    clusters: Sequence[Hashable] | NDArray[np.generic] | None = None,
    *,
    whole: float,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of a mean paired difference in clusters, also where few or none of them changed.

    One cluster that gains and one that loses, by the root mean square of the clusters that changed,
    are added before a t interval is taken: Bonett and Price 2012 ("Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data"), for clusters. So it is
    not centred on the difference, and where nothing changed it is not empty.

    Args:
        difference: Paired differences, one an example.
        clusters: Cluster of each; None takes examples for independent.
        whole: Difference of an example that changes wholly (100 for points); what is added where no
            example changed.
        level: Confidence level.

    Returns:
        (low, high); (nan, nan) with fewer than two clusters.
    """
    values = np.asarray(difference, dtype=np.float64)
    sums, sizes = cluster_sums(clusters, values, np.ones_like(values))
    if len(sums) < 2:
        return float("nan"), float("nan")
    changed = sums[np.abs(sums) > 1e-9 * np.abs(values).max()]
    size = float(np.sqrt((changed**2).mean())) if len(changed) else np.abs(values).max() or whole
    top, bottom = np.append(sums, [size, -size]), np.append(sizes, [sizes.mean()] * 2)
    ratio = float(top.sum() / bottom.sum())
    half = _quantile(level, len(sums)) * ratio_standard_error(top, bottom)
    return ratio - half, ratio + half


def _quantile(level: float, clusters: int) -> float:
    return float(stats.t.ppf((1 + level) / 2, clusters - 1))
