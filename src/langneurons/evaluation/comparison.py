"""Is one result better than another? Paired tests, intervals, and what could have been found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from langneurons.errors import InputError
from langneurons.evaluation.intervals import (
    Method,
    cluster_sums,
    ratio_interval,
    ratio_standard_error,
)

if TYPE_CHECKING:
    from langneurons.evaluation.scores import Scores

Test = Literal["mcnemar", "permutation"]
RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """The difference of two results on the same examples, first minus second, in points.

    Attributes:
        metric: What is compared.
        difference: In percentage points.
        low: Lower end of the interval of the difference.
        high: Upper end.
        level: Confidence level of the interval.
        p_value: Two-sided p value of ``test``.
        test: ``"mcnemar"`` (exact) or ``"permutation"`` (paired signs, by cluster).
        n: Examples compared.
        clusters: Groups they fall into.
        minimum_detectable_effect: Smallest true difference in points that this comparison would
            find with a probability of 80 % at the level of 5 %.
    """

    metric: str
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    test: Test
    n: int
    clusters: int
    minimum_detectable_effect: float

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def significant(self, alpha: float = 0.05, p_value: float | None = None) -> bool:
        """Whether both the test and the clustered interval carry a difference.

        Args:
            alpha: Level of the test.
            p_value: A corrected p value, as :func:`holm` gives it, instead of the own one.
        """
        p = self.p_value if p_value is None else p_value
        return p < alpha and not self.low <= 0 <= self.high


def compare(
    a: Scores,
    b: Scores,
    *,
    metric: str | None = None,
    test: Test | None = None,
    level: float = 0.95,
    method: Method = "percentile",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two results example by example.

    Args:
        a: First result.
        b: Second result, on the same examples (ids), also in another language of parallel data.
        metric: Which metric; None for the first.
        test: ``"mcnemar"`` exact for right-or-wrong metrics, ``"permutation"`` for others; None
            takes the one that fits. The permutation flips the sign of whole groups.
        level: Level of the interval.
        method: See :func:`~langneurons.evaluation.intervals.ratio_interval`.
        resamples: Permutations drawn, where there are too many to try all.
        seed: Seed of bootstrap and permutations.

    Raises:
        InputError: If the examples differ or the metric is missing.
    """
    metric = metric or a.metrics[0]
    first, second, groups = a.paired(b, metric)
    difference = 100 * (first - second)
    ones = np.ones_like(difference)
    binary = bool(np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all())
    test = test or ("mcnemar" if binary else "permutation")
    if test == "mcnemar":
        if not binary:
            raise InputError(f"McNemar's test needs right or wrong, {metric} has values between.")
        p_value = mcnemar(first, second)
    else:
        p_value = permutation(difference, groups, resamples=resamples, seed=seed)
    low, high = ratio_interval(
        difference, ones, clusters=groups, level=level, method=method, seed=seed
    )
    return Comparison(
        metric=metric,
        difference=float(difference.mean()),
        low=low,
        high=high,
        level=level,
        p_value=p_value,
        test=test,
        n=len(difference),
        clusters=len(set(groups)),
        minimum_detectable_effect=minimum_detectable_effect(difference, groups),
    )


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided exact p value: are examples that only one gets right split evenly?

    Args:
        first: 1 where the first is right, else 0; one an example.
        second: Likewise.
    """
    x, y = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((x & ~y).sum()), int((~x & y).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second, 0.5).pvalue)


def permutation(
    difference: ArrayLike,
    clusters: Sequence[object] | NDArray[np.generic] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Two-sided p value of a mean paired difference when the signs of whole clusters are flipped.

    All sign patterns are tried where they are few enough.

    Args:
        difference: Paired differences, one an example.
        clusters: Cluster of each; None flips each example on its own.
        resamples: Patterns drawn otherwise.
        seed: Seed of the draw.
    """
    (sums,) = cluster_sums(clusters, difference)
    sums = sums[sums != 0]  # a cluster without difference is the same under either sign
    if len(sums) == 0:
        return 1.0
    if len(sums) == 1:
        return 1.0  # both signs are equally far from zero

    def statistic(x: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(x.sum(axis=axis))

    found = stats.permutation_test(
        (sums,),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(sums)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def multiplier(alpha: float = 0.05, power: float = 0.8) -> float:
    """z(1 - alpha / 2) + z(power): detectable effect of a two-sided test in standard errors."""
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))


def minimum_detectable_effect(
    difference: ArrayLike,
    clusters: Sequence[object] | NDArray[np.generic] | None = None,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Smallest true mean difference found with probability ``power`` by a two-sided test.

    (z(1 - alpha / 2) + z(power)) x the cluster-robust standard error of the observed difference.
    Where not one cluster differs the standard error says nothing; then the effect is what one
    differing cluster in three over the number of clusters would make (rule of three, at 95 %).

    Args:
        difference: Paired differences, one an example.
        clusters: Cluster of each.
        alpha: Level of the test.
        power: Wanted probability.

    Returns:
        In the unit of ``difference``; nan with fewer than two clusters.
    """
    values = np.asarray(difference, dtype=np.float64)
    ones = np.ones_like(values)
    error = ratio_standard_error(values, ones, clusters)
    if not np.isfinite(error):
        return float("nan")
    if not values.any():
        (sizes,) = cluster_sums(clusters, ones)
        return float(100 * min(1.0, 3 / len(sizes)))
    return multiplier(alpha, power) * error


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
