"""Is one result better than another? Paired tests, intervals, and what could have been found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from langneurons.errors import InputError
from langneurons.evaluation.intervals import difference_interval
from langneurons.evaluation.metrics import RIGHT_OR_WRONG
from langneurons.evaluation.paired import RESAMPLES, mcnemar, permutation
from langneurons.evaluation.power import minimum_detectable_effect

if TYPE_CHECKING:
    from langneurons.evaluation.scores import Scores

Test = Literal["mcnemar", "permutation"]


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
        test: ``"mcnemar"`` or ``"permutation"`` (paired signs, by group), both at mid-p.
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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two results example by example.

    The test follows from the metric and from how the examples were drawn, never from the values
    found: examples that come in groups (hypotheses on one premise, questions on one paragraph) are
    permuted by group.

    Args:
        a: First result.
        b: Second result, on the same examples (ids), also in another language of parallel data.
        metric: Which metric; None for the first.
        test: ``"mcnemar"`` for right-or-wrong metrics of single examples, ``"permutation"`` for all
            others; None takes the one that fits. The permutation flips the sign of whole groups.
        level: Level of the interval, see
            :func:`~langneurons.evaluation.intervals.difference_interval`.
        resamples: Permutations drawn, where there are too many to try all.
        seed: Seed of the permutations and of the simulated power.

    Raises:
        InputError: If the examples differ, the metric is missing, or the test does not fit.
    """
    metric = metric or a.metrics[0]
    first, second, groups = a.paired(b, metric)
    difference = 100 * (first - second)
    count = len(set(groups))
    single = count == len(groups)
    if test is None:
        test = "mcnemar" if single and metric in RIGHT_OR_WRONG else "permutation"
    if test == "mcnemar":
        if metric not in RIGHT_OR_WRONG:
            raise InputError(
                f"McNemar's test needs right or wrong, {metric} has values between: leave test out."
            )
        if not single:
            raise InputError(
                f"McNemar's test takes examples for independent, but the {len(groups)} examples "
                f"of {a.task} fall into {count} groups: leave test out."
            )
        p_value = mcnemar(first, second)
    else:
        p_value = permutation(difference, groups, resamples=resamples, seed=seed)
    low, high = difference_interval(difference, groups, whole=100.0, level=level)
    return Comparison(
        metric=metric,
        difference=float(difference.mean()),
        low=low,
        high=high,
        level=level,
        p_value=p_value,
        test=test,
        n=len(difference),
        clusters=count,
        minimum_detectable_effect=minimum_detectable_effect(
            difference, groups, whole=100.0, seed=seed
        ),
    )
