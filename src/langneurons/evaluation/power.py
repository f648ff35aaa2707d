"""What a comparison could have found: the smallest true effect that its own test finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from langneurons.errors import InputError
from langneurons.evaluation.intervals import cluster_sums
from langneurons.evaluation.paired import split_mid_p

_MANY = 100
"""Groups that differ from which on the permuted sum is normal enough for a formula."""
_NORMAL = 30
"""The same for the decision of a single simulated test."""
_EXPERIMENTS = 500
_PATTERNS = 1000


def multiplier(df: float = math.inf, alpha: float = 0.05, power: float = 0.8) -> float:
    """Detectable effect in standard errors of a two-sided t test.

    From the noncentral t distribution (its square is a noncentral F): 2.80 for many degrees of
    freedom, 5.65 for two, 16.3 for one.

    Args:
        df: Degrees of freedom; infinite for a known spread.
        alpha: Level of the test.
        power: Probability of finding the effect.
    """
    if math.isinf(df):
        return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    limit = float(stats.f.isf(alpha, 1, df))
    return float(optimize.brentq(lambda d: stats.ncf.sf(limit, 1, df, d * d) - power, 0.1, 500.0))


def detectable_over_seeds(
    std: float, seeds: int, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest true mean difference that a paired t test over seeds finds.

    With three seeds it is 3.3 spreads, where a normal approximation would say 1.6.

    Args:
        std: Standard deviation of the differences between seeds.
        seeds: Number of seeds, two at least.
        alpha: Level of the two-sided test.
        power: Probability of finding it.

    Returns:
        In the unit of ``std``; nan for one seed.
    """
    if seeds < 2:
        return float("nan")
    return std / math.sqrt(seeds) * multiplier(seeds - 1, alpha, power)


def minimum_detectable_effect(
    difference: ArrayLike,
    clusters: Sequence[object] | NDArray[np.generic] | None = None,
    *,
    whole: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    seed: int = 0,
) -> float:
    """Smallest true mean difference found with probability ``power`` by the clustered permutation.

    It is the power of :func:`~langneurons.evaluation.paired.permutation` (for single examples
    that is McNemar's test) in experiments of this size: as many groups change as did here, by as
    much as here, and the effect is that more of them change to one side than to the other. An
    effect larger than that can carry makes further groups change, to that side. Where a hundred
    groups differ it is (z(1 - alpha / 2) + z(power)) standard errors, solved for the variance under
    the effect; below, such experiments are simulated.

    Args:
        difference: Paired differences, one an example.
        clusters: Group of each; None for single examples.
        whole: Difference of an example that changes wholly: 100 for points, 1 for fractions. Only
            needed where not one example differs.
        alpha: Level of the test.
        power: Wanted probability.
        seed: Seed of the simulated experiments.

    Returns:
        In the unit of ``difference``; nan where no effect could be found, as with four groups.

    Raises:
        InputError: If no example differs and ``whole`` is not given.
    """
    values = np.asarray(difference, dtype=np.float64)
    sums, sizes = cluster_sums(clusters, values, np.ones_like(values))
    examples, groups = float(sizes.sum()), len(sums)
    # What cancels within a group is no change of the group, up to rounding.
    pool = np.abs(sums[np.abs(sums) > 1e-9 * np.abs(values).max(initial=0.0)])
    if len(pool) >= _MANY:
        return _by_formula(pool, groups, alpha, power) / examples
    single = np.abs(values[values != 0])
    if not len(pool) and not len(single) and whole is None:
        raise InputError(
            "no example differs: say what one that changes wholly would count, whole=100 for "
            "points or whole=1 for fractions."
        )
    # A further group changes by what groups changed by, else by what one example changes by.
    further = pool if len(pool) else single if len(single) else np.array([whole], dtype=np.float64)
    experiments = _Experiments(pool, further, groups, alpha, np.random.default_rng(seed))
    largest = float(pool.sum() + (groups - len(pool)) * further.mean())
    low, high = 0.0, min(largest, 4.0 * float(further.mean()))
    while experiments.found(high) < power:
        if high >= largest:
            return float("nan")
        low, high = high, min(largest, 2 * high)
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if experiments.found(middle) >= power else (middle, high)
    return high / examples


def _by_formula(pool: NDArray[np.float64], groups: int, alpha: float, power: float) -> float:
    """Detectable sum over all groups.

    x = z1 s + z2 sqrt(s^2 - x^2 / G) with s^2 the sum of squares: the test's spread has no effect
    in it, that of the experiments has.
    """
    z1, z2 = float(stats.norm.ppf(1 - alpha / 2)), float(stats.norm.ppf(power))
    square, shrink = float((pool**2).sum()), 1 + z2 * z2 / groups
    root = math.sqrt(z1 * z1 - shrink * (z1 * z1 - z2 * z2))
    return math.sqrt(square) * (z1 + root) / shrink


class _Experiments:
    """Experiments like the one made, the same draws for every effect.

    Args:
        pool: What the groups that changed changed by, (changed,).
        further: What a further group may change by.
        groups: Number of groups.
        alpha: Level of the test.
        rng: Source of the draws.
    """

    def __init__(
        self,
        pool: NDArray[np.float64],
        further: NDArray[np.float64],
        groups: int,
        alpha: float,
        rng: np.random.Generator,
    ) -> None:
        self._alpha, self._groups = alpha, groups
        self._sum, self._further = float(pool.sum()), float(further.mean())
        self._left = groups - len(pool)
        self._changed = rng.binomial(groups, len(pool) / groups, _EXPERIMENTS)
        width = int(self._changed.max())
        taken = np.arange(width) < self._changed[:, None]
        drawn = rng.choice(pool, (_EXPERIMENTS, width)) if len(pool) else np.zeros(taken.shape)
        self._sizes = np.where(taken, drawn, 0.0)
        self._side = rng.random(taken.shape)
        self._count = rng.random(_EXPERIMENTS)
        self._extra = rng.choice(further, (_EXPERIMENTS, min(groups, 2 * _NORMAL)))
        self._signs = rng.choice([-1.0, 1.0], (_PATTERNS, _NORMAL))

    def found(self, total: float) -> float:
        """Share of experiments in which the test finds an effect of ``total`` over all groups."""
        share = min(1.0, total / self._sum) if self._sum else 1.0
        sums = np.where(self._side < (1 + share) / 2, self._sizes, -self._sizes)
        if total > self._sum and self._left:
            chance = min(1.0, (total - self._sum) / (self._left * self._further))
            left = self._groups - self._changed
            more = np.asarray(stats.binom.ppf(self._count, left, chance))
            places = np.arange(self._extra.shape[1])
            sums = np.concatenate([sums, np.where(places < more[:, None], self._extra, 0.0)], 1)
        return float(self._rejects(sums).mean())

    def _rejects(self, sums: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the test, at mid-p, rejects for each row of group sums (0: no change)."""
        observed, root = np.abs(sums.sum(1)), np.sqrt((sums**2).sum(1))
        limit = float(stats.norm.ppf(1 - self._alpha / 2))
        found = np.asarray(observed > limit * root)
        count = (sums != 0).sum(1)
        # Far from the limit few groups say the same as many (above, by Hoeffding's bound).
        sure = math.sqrt(2 * math.log(2 / self._alpha))
        few = (count < _NORMAL) & (observed > 0.75 * limit * root) & (observed <= sure * root)
        # So few groups cannot be significant in whatever way they change.
        found[few & (0.5**count >= self._alpha)] = False
        few &= 0.5**count < self._alpha
        sizes = np.abs(sums)
        largest = sizes.max(1, initial=0.0)
        equal = few & np.isclose(sizes.sum(1), largest * count, rtol=1e-9)
        wins = (sums[equal] > 0).sum(1)
        found[equal] = split_mid_p(wins, count[equal]) < self._alpha
        uneven = few & ~equal
        if uneven.any():
            # The groups that changed, in front; the others' signs make no difference.
            order = np.argsort(sums[uneven] == 0, axis=1, kind="stable")[:, :_NORMAL]
            rows = np.take_along_axis(sums[uneven], order, 1)
            permuted = np.abs(rows @ self._signs[:, : rows.shape[1]].T)
            seen, slack = observed[uneven][:, None], 1e-9 * np.abs(rows).sum(1, keepdims=True)
            p = (permuted > seen + slack).mean(1) + (np.abs(permuted - seen) <= slack).mean(1) / 2
            found[uneven] = p < self._alpha
        return found
