"""Intervals and tests against their definitions, and their error rates in simulation."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution
from scipy.stats import ttest_1samp
from statsmodels.stats.power import TTestPower

from langneurons.artifacts import write_table
from langneurons.errors import ArtifactError, InputError
from langneurons.evaluation import (
    Scores,
    across_seeds,
    among_sets,
    compare,
    detectable_over_seeds,
    difference_interval,
    differences_over_seeds,
    holm,
    mcnemar,
    minimum_detectable_effect,
    permutation,
    ratio_interval,
    share_interval,
)
from langneurons.evaluation.intervals import cluster_sums, ratio_standard_error
from langneurons.evaluation.seeds import spread


def scores(correct: list[float], group: list[str] | None = None, lang: str = "en") -> Scores:
    n = len(correct)
    rows = pd.DataFrame(
        {
            "id": [f"q{i}" for i in range(n)],
            "group": group or [str(i) for i in range(n)],
            "prediction": ["x"] * n,
            "gold": ["y"] * n,
            "correct": correct,
            "holders": [1 + i % 2 for i in range(n)],
        }
    )
    return Scores("made-up", lang, ("accuracy",), rows, {"split": "test"}, {"accuracy": 33.0})


def test_cluster_sums_by_definition() -> None:
    a, b = cluster_sums(["x", "y", "x"], [1.0, 2.0, 4.0], [1, 1, 1])
    assert a.tolist() == [5.0, 2.0]
    assert b.tolist() == [2.0, 1.0]


def test_clustered_interval_covers_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(0)
    hits = {"clustered": 0, "plain": 0}
    for _ in range(120):
        # Items of a premise are nearly copies of each other.
        premise = rng.random(60) < 0.5
        values = np.repeat(premise, 5).astype(float)
        clusters = np.repeat(np.arange(60), 5)
        for name, given_clusters in (("clustered", clusters), ("plain", None)):
            low, high = ratio_interval(values, np.ones(300), clusters=given_clusters)
            hits[name] += low <= 0.5 <= high
    assert hits["clustered"] >= 107  # 95 % of 120 less three standard errors
    assert hits["plain"] <= 90


def test_interval_of_a_ratio_matches_a_bootstrap_written_out() -> None:
    rng = np.random.default_rng(1)
    top, bottom = rng.random(40) * 10, rng.integers(1, 20, 40).astype(float)
    draws = np.random.default_rng(7).integers(0, 40, (20_000, 40))
    expected = np.quantile(top[draws].sum(1) / bottom[draws].sum(1), [0.025, 0.975])
    found = ratio_interval(top, bottom, method="percentile", resamples=20_000, seed=2)
    assert found == pytest.approx(expected, rel=0.01)
    # The linearised one by definition; that of a mean is Student's.
    ratio = top.sum() / bottom.sum()
    error = math.sqrt(40 / 39 * ((top - ratio * bottom) ** 2).sum()) / bottom.sum()
    half = t_distribution.ppf(0.975, 39) * error
    assert ratio_interval(top, bottom) == pytest.approx((ratio - half, ratio + half))
    student = ttest_1samp(top, 0).confidence_interval()
    assert ratio_interval(top, np.ones(40)) == pytest.approx((student.low, student.high))
    bca = ratio_interval(top, bottom, method="BCa", seed=2)
    assert bca[0] < top.sum() / bottom.sum() < bca[1]


def test_nothing_to_resample_gives_no_interval() -> None:
    assert all(math.isnan(x) for x in ratio_interval([1.0], [1.0]))
    assert all(math.isnan(x) for x in ratio_interval([1.0, 0.0], [1.0, 1.0], clusters=["a", "a"]))
    assert ratio_interval([1.0, 1.0], [1.0, 1.0]) == (1.0, 1.0)


def test_intervals_of_scores_are_wilsons_where_examples_are_single() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(400) < 0.7).astype(float)
    hits, n = values.sum(), 399  # the variance of a sample: one example less
    z = t_distribution.ppf(0.975, 399)
    p = hits / 400
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert share_interval(values) == pytest.approx((centre - half, centre + half))
    # Twins are one example, not two.
    twins = share_interval(np.repeat(values, 2), np.repeat(np.arange(400), 2))
    assert twins == pytest.approx(share_interval(values))
    # A perfect score is not known to be perfect.
    low, high = share_interval(np.ones(120), np.repeat(np.arange(40), 3))
    assert high == 1.0
    assert 0.88 < low < 0.95
    assert share_interval(np.zeros(120), np.repeat(np.arange(40), 3))[0] == 0.0
    assert all(math.isnan(end) for end in share_interval([1.0, 0.0], ["a", "a"]))


@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.0, 0.4, 1.0]), min_size=4, max_size=60),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_a_difference_gets_one_gained_and_one_lost_group_more(
    values: list[float], size: int
) -> None:
    groups = [number // size for number in range(len(values))]
    if len(set(groups)) < 2:
        return
    sums = np.bincount(groups, weights=values)
    sizes = np.bincount(groups).astype(float)
    changed = sums[np.abs(sums) > 1e-9]
    step = math.sqrt((changed**2).mean()) if len(changed) else max(map(abs, values)) or 1.0
    top, bottom = [*sums, step, -step], [*sizes, sizes.mean(), sizes.mean()]
    mean = sum(top) / sum(bottom)
    square = sum((a - mean * b) ** 2 for a, b in zip(top, bottom, strict=True))
    error = math.sqrt(len(top) / (len(top) - 1) * square) / sum(bottom)
    half = t_distribution.ppf(0.975, len(sums) - 1) * error
    found = difference_interval(values, groups, whole=1.0)
    assert found == pytest.approx((mean - half, mean + half))
    points = difference_interval([100 * value for value in values], groups, whole=100.0)
    assert points == pytest.approx((100 * found[0], 100 * found[1]))


def test_no_change_is_not_known_to_be_none() -> None:
    low, high = difference_interval(np.zeros(360), np.repeat(np.arange(120), 3), whole=100.0)
    assert low == pytest.approx(-high)
    assert 0.6 < high < 1.0  # about three examples of 360
    assert all(math.isnan(end) for end in difference_interval([1.0], whole=1.0))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_by_definition(pairs: list[tuple[bool, bool]]) -> None:
    first = [a for a, _ in pairs]
    second = [b for _, b in pairs]
    b = sum(x and not y for x, y in pairs)
    c = sum(y and not x for x, y in pairs)
    ways = [math.comb(b + c, k) / 2 ** (b + c) for k in range(b + c + 1)]
    apart = abs(2 * b - (b + c))
    more = sum(p for k, p in enumerate(ways) if abs(2 * k - (b + c)) > apart)
    as_much = sum(p for k, p in enumerate(ways) if abs(2 * k - (b + c)) == apart)
    # The published form: the exact p less the probability of the split observed (Fagerland 2013).
    exact = min(1.0, 2 * sum(ways[: min(b, c) + 1]))
    expected = more + as_much / 2 if b + c else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)
    if b != c:
        assert expected == pytest.approx(exact - ways[b])


@settings(deadline=None)
@given(st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]), min_size=2, max_size=8))
def test_permutation_by_trying_all_signs(differences: list[float]) -> None:
    observed = abs(sum(differences))
    signs = list(itertools.product([1, -1], repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(pattern, differences, strict=True))) for pattern in signs]
    larger = sum(value > observed + 1e-9 for value in sums)
    equal = sum(abs(value - observed) <= 1e-9 for value in sums)
    expected = (larger + equal / 2) / len(signs) if any(differences) else 1.0
    assert permutation(differences) == pytest.approx(expected)


def test_permutation_flips_whole_clusters() -> None:
    difference = [1.0] * 12
    assert permutation(difference) == pytest.approx(1 / 2**12)
    # Four paragraphs of three questions are four coins, not twelve.
    assert permutation(difference, np.repeat(np.arange(4), 3)) == pytest.approx(1 / 2**4)
    assert permutation([0.0, 0.0]) == 1.0
    # What cancels within a group is no change of it, also where sums are rounded.
    assert permutation([0.1, 0.2, -0.3, 0.0], ["a", "a", "a", "b"]) == 1.0


def test_drawn_patterns_agree_with_all_of_them() -> None:
    rng = np.random.default_rng(6)
    for _ in range(5):
        values = rng.choice([-1.0, 1.0], 20, p=[0.3, 0.7])
        (ones,) = np.nonzero(values > 0)
        first = np.zeros(20)
        first[ones] = 1
        # Single right-or-wrong examples: the permutation test is McNemar's.
        assert permutation(values) == pytest.approx(mcnemar(first, 1 - first), abs=0.015)
    assert permutation(values[:16], resamples=2**16) == pytest.approx(
        mcnemar(first[:16], 1 - first[:16])
    )


def test_a_test_without_effect_keeps_its_level() -> None:
    rng = np.random.default_rng(3)
    false = 0
    for trial in range(300):
        values = rng.normal(size=40)
        false += permutation(values, resamples=999, seed=trial) < 0.05
    assert false <= 28  # 5 % of 300 plus three and a half standard errors


@pytest.mark.parametrize(("share", "together"), [(0.02, False), (0.3, False), (0.1, True)])
def test_a_detectable_effect_is_found_four_times_in_five(share: float, together: bool) -> None:
    """By the test itself, in experiments drawn anew, with few and with many changed groups."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(120), 3)

    def experiment(effect: float) -> np.ndarray:
        down = max(0.0, (share - effect / 100) / 2)
        up = effect / 100 + down
        sides = rng.choice([1.0, -1.0, 0.0], 120 if together else 360, p=[up, down, 1 - up - down])
        return 100 * (np.repeat(sides, 3) if together else sides)

    pilots = [
        minimum_detectable_effect(experiment(0.0), groups, whole=100.0, seed=n) for n in range(12)
    ]
    effect = float(np.mean(pilots))
    found = [
        permutation(np.bincount(groups, weights=experiment(effect)), resamples=499, seed=n) < 0.05
        for n in range(300)
    ]
    assert 0.7 < np.mean(found) < 0.9


def test_a_detectable_effect_in_many_groups_is_by_formula() -> None:
    pilot = np.random.default_rng(4).choice([-1.0, 1.0], 400)
    square, z = 400.0, [1.959963984540054, 0.8416212335729143]
    x = minimum_detectable_effect(pilot) * 400
    # The test's spread knows no effect, that of the experiments does.
    assert x == pytest.approx(z[0] * math.sqrt(square) + z[1] * math.sqrt(square - x * x / 400))


def test_detectable_effects_know_the_groups_and_the_unit() -> None:
    groups = np.repeat(np.arange(120), 3)
    none, one, cancel = np.zeros(360), np.zeros(360), np.tile([100.0, -100.0, 0.0], 120)
    one[7] = 100.0
    # McNemar's test needs five changed examples to one side: about seven expected.
    for values in (none, one, cancel):
        assert minimum_detectable_effect(values, groups, whole=100.0) == pytest.approx(1.8, abs=0.1)
    fraction = minimum_detectable_effect(none / 100, groups, whole=1.0)
    assert fraction == pytest.approx(minimum_detectable_effect(none, groups, whole=100.0) / 100)
    rng = np.random.default_rng(5)
    whole_premises = 100 * np.repeat(rng.choice([-1.0, 1.0, 0.0], 120, p=[0.1, 0.1, 0.8]), 3)
    grouped = minimum_detectable_effect(whole_premises, groups, whole=100.0)
    assert grouped > 1.4 * minimum_detectable_effect(whole_premises, whole=100.0)
    # Four groups cannot be significant, whatever they do.
    four = minimum_detectable_effect(np.full(12, 100.0), np.repeat(np.arange(4), 3), whole=100.0)
    assert math.isnan(four)
    assert math.isnan(minimum_detectable_effect([1.0], whole=1.0))
    with pytest.raises(InputError, match="whole=100 for points or whole=1 for fractions"):
        minimum_detectable_effect(np.zeros(300))


def test_cluster_robust_error_is_that_of_cluster_means() -> None:
    rng = np.random.default_rng(5)
    means = rng.normal(size=50)
    values, clusters = np.repeat(means, 4), np.repeat(np.arange(50), 4)
    error = ratio_standard_error(values, np.ones(200), clusters)
    assert error == pytest.approx(means.std(ddof=1) / np.sqrt(50))


def test_holm_by_definition() -> None:
    assert holm([0.01, 0.04, 0.03, math.nan]).tolist()[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(holm([0.01, math.nan])[1])
    assert holm([math.nan]).shape == (1,)
    table = pd.DataFrame({"table": ["a", "a", "b"], "p": [0.02, 0.5, 0.02]})
    corrected = table.groupby("table")["p"].transform(holm)
    assert corrected.tolist() == pytest.approx([0.04, 0.5, 0.02])


def test_scores_are_recomputed_from_their_rows(tmp_path: Path) -> None:
    result = scores([1, 0, 1, 1, float("nan"), 0])
    assert result.n == 5
    assert result.value() == pytest.approx(60.0)
    low, high = result.interval()
    assert 0 <= low < 60 < high <= 100
    assert result.where(holders=1).value() == pytest.approx(100.0)
    with pytest.raises(InputError, match="no column 'colour'"):
        result.where(colour=1)
    with pytest.raises(InputError, match="no example"):
        result.where(holders=9)
    result.save(tmp_path / "scores.parquet")
    again = Scores.load(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(again.rows, result.rows)
    assert (again.task, again.lang, again.metrics) == ("made-up", "en", ("accuracy",))
    assert again.details == {"split": "test"}
    assert again.chance() == 33.0
    assert "60.0 %" in str(again)


def test_damaged_or_foreign_score_files_are_named(tmp_path: Path) -> None:
    write_table(tmp_path / "other.parquet", pd.DataFrame({"id": [1]}))
    with pytest.raises(ArtifactError, match="holds no scores"):
        Scores.load(tmp_path / "other.parquet")
    scores([1, 0]).save(tmp_path / "s.parquet")
    content = (tmp_path / "s.parquet").read_bytes()
    (tmp_path / "s.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="damaged"):
        Scores.load(tmp_path / "s.parquet")
    with pytest.raises(InputError, match="no file"):
        Scores.load(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="lack the column 'correct'"):
        Scores("t", "en", ("accuracy",), pd.DataFrame({"id": [1], "group": ["g"]}))


def test_comparison_of_accuracies() -> None:
    a = scores([1] * 30 + [0] * 10)
    b = scores([1] * 18 + [0] * 22)
    shuffled = Scores("made-up", "hi", b.metrics, b.rows.sample(frac=1, random_state=0))
    change = compare(a, shuffled)
    assert change.difference == pytest.approx(30.0)
    assert change.test == "mcnemar"
    assert change.p_value == pytest.approx(1 / 2**12)
    assert change.low < 30 < change.high
    assert change.low > 0
    assert change.significant()
    assert not change.significant(p_value=0.2)
    assert (change.n, change.clusters) == (40, 40)
    same = compare(a, a)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert 14 < same.minimum_detectable_effect < 18  # about seven examples of forty
    assert not same.significant()


def test_clusters_can_take_a_difference_away() -> None:
    # All twelve changed answers belong to one paragraph.
    group = ["p"] * 12 + [f"g{i}" for i in range(6)] * 2
    a = scores([1] * 12 + [1, 0] * 6, group)
    b = scores([0] * 12 + [1, 0] * 6, group)
    change = compare(a, b)
    assert change.test == "permutation"
    assert change.p_value == 0.5
    assert change.low <= 0
    assert not change.significant()


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=6, max_size=12), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=12)
def test_the_test_goes_by_metric_and_design_and_not_by_values(
    correct: list[float], part: float
) -> None:
    def f1(values: list[float], group: list[str] | None = None) -> Scores:
        rows = scores(values, group).rows.rename(columns={"correct": "f1"})
        return Scores("made-up", "en", ("f1",), rows)

    other, pairs = [0.0] * len(correct), [str(n // 2) for n in range(len(correct))]
    # F1 whose values happen to be 0 and 1 is F1 still, and one value does not change the test.
    assert compare(f1(correct), f1(other)).test == "permutation"
    assert compare(f1([part, *correct[1:]]), f1(other)).test == "permutation"
    assert compare(scores(correct), scores(other)).test == "mcnemar"
    assert compare(scores(correct, pairs), scores(other, pairs)).test == "permutation"
    # A single group of two is grouping enough.
    one_pair = ["x", "x", *map(str, range(len(correct) - 2))]
    assert compare(scores(correct, one_pair), scores(other, one_pair)).test == "permutation"


def test_intervals_of_scores_go_by_groups() -> None:
    rng = np.random.default_rng(1)
    premise = (rng.random(60) < 0.6).astype(float)
    alike, group = list(np.repeat(premise, 5)), [str(n // 5) for n in range(300)]
    low, high = scores(alike, group).interval()
    alone_low, alone_high = scores(alike).interval()
    assert high - low > 2 * (alone_high - alone_low)
    change = compare(scores(alike, group), scores([0.0] * 300, group))
    free = compare(scores(alike), scores([0.0] * 300))
    assert change.high - change.low > 2 * (free.high - free.low)
    assert change.minimum_detectable_effect > 1.5 * free.minimum_detectable_effect
    assert change.clusters == 60
    outside = Scores("harness:x", "en", ("bits",), scores([3.0, 1.0, 2.0]).rows.rename(
        columns={"correct": "bits"}))  # fmt: skip
    assert outside.interval()[1] > 200  # no share, so nothing stops it at 100


def test_results_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="different examples"):
        compare(scores([1, 0]), scores([1, 0, 1]))
    other = scores([1, 0])
    other.task = "another"
    with pytest.raises(InputError, match="cannot compare"):
        compare(scores([1, 0]), other)
    with pytest.raises(InputError, match="no metric 'f1'"):
        compare(scores([1, 0]), scores([1, 0]), metric="f1")
    with pytest.raises(InputError, match="no example of made-up has a known gold"):
        compare(scores([math.nan]), scores([1]))
    grouped = scores([1, 0, 1], ["a", "a", "b"])
    with pytest.raises(InputError, match="3 examples of made-up fall into 2 groups"):
        compare(grouped, grouped, test="mcnemar")
    f1 = Scores("t", "en", ("f1",), scores([1, 0]).rows.rename(columns={"correct": "f1"}))
    with pytest.raises(InputError, match="McNemar's test needs right or wrong, f1 has values"):
        compare(f1, f1, test="mcnemar")


def test_spread_over_seeds() -> None:
    found = across_seeds([scores([1, 1]), scores([1, 0]), scores([0, 0])])
    assert found.mean == pytest.approx(50.0)
    assert found.std == pytest.approx(50.0)
    assert found.high - found.mean == pytest.approx(4.302653 * 50 / math.sqrt(3), rel=1e-5)
    assert math.isnan(across_seeds([scores([1, 0])]).std)
    with pytest.raises(InputError, match="at least one"):
        across_seeds([])


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6))
def test_the_spread_is_that_of_a_t_interval(values: list[float]) -> None:
    found = spread(values)
    assert found.seeds == len(values)
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if found.std > 1e-6:
        ends = ttest_1samp(values, 0).confidence_interval()
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=1e-6)


@pytest.mark.parametrize("seeds", [2, 3, 8, 100])
def test_a_detectable_difference_is_found_four_times_in_five(seeds: int) -> None:
    effect = detectable_over_seeds(2.0, seeds)
    draws = np.random.default_rng(1).normal(effect, 2.0, (20_000, seeds))
    found = (ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.012)
    assert math.isnan(detectable_over_seeds(2.0, 1))
    package = 2.0 * float(TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8))
    assert effect == pytest.approx(package, rel=1e-4)


def grid(values: np.ndarray) -> pd.DataFrame:
    """A table of (adapters, seeds), as ``among_sets`` takes it."""
    sets, seeds = values.shape
    return pd.DataFrame(
        {
            "adapter": np.repeat([f"set {n}" for n in range(sets)], seeds),
            "seed": np.tile(np.arange(seeds), sets),
            "value": values.reshape(-1),
        }
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 2**31))
def test_sets_are_compared_by_a_two_way_analysis_of_variance(
    sets: int, seeds: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(50, 8, (sets, seeds))
    found = among_sets(grid(values).sample(frac=1, random_state=1))
    rows, columns, mean = values.mean(1), values.mean(0), values.mean()
    left = values - rows[:, None] - columns[None, :] + mean
    df = (sets - 1) * (seeds - 1)
    variance = (left**2).sum() / df
    between = seeds * ((rows - mean) ** 2).sum() / (sets - 1)
    assert (found.sets, found.seeds, found.df) == (sets, seeds, df)
    assert found.std == pytest.approx(math.sqrt(2 * variance))
    assert found.f == pytest.approx(between / variance)
    assert found.p_value == pytest.approx(f_distribution.sf(between / variance, sets - 1, df))
    if sets == 2:
        # Of two adapters it is the paired t test.
        assert found.p_value == pytest.approx(ttest_1samp(values[0] - values[1], 0).pvalue)
        assert found.detectable == pytest.approx(detectable_over_seeds(found.std, seeds), rel=1e-4)


def test_a_pooled_detectable_difference_is_found_four_times_in_five() -> None:
    rng, sets, seeds = np.random.default_rng(2), 5, 3
    found = among_sets(grid(rng.normal(0, 1, (sets, seeds))))
    # Trainings that spread as found, and one set better by what is said to be detectable.
    values = rng.normal(0, found.std / 2**0.5, (4000, sets, seeds))
    values[:, 0] += found.detectable
    left = values - values.mean(2, keepdims=True) - values.mean(1, keepdims=True)
    left += values.mean((1, 2), keepdims=True)
    error = np.sqrt(2 * (left**2).sum((1, 2)) / 8 / seeds)
    t = (values[:, 0].mean(1) - values[:, 1].mean(1)) / error
    assert (np.abs(t) > t_distribution.ppf(0.975, 8)).mean() == pytest.approx(0.8, abs=0.025)


def test_sets_need_the_same_seeds_and_some_spread() -> None:
    equal = np.array([[60.0, 50.0], [61.0, 51.0]])
    found = among_sets(grid(equal))
    assert found.std == 0
    assert math.isnan(found.p_value)
    assert math.isnan(found.detectable)
    for wrong in (grid(equal).iloc[:-1], grid(equal[:1]), grid(equal[:, :1])):
        with pytest.raises(InputError, match="the same two seeds"):
            among_sets(wrong)


def test_differences_over_seeds_are_tested_against_their_own_spread() -> None:
    def rows(
        adapter: str, values: list[float], reference: str = "random"
    ) -> list[dict[str, object]]:
        cell = {"task": "xnli", "language": "hi", "metric": "accuracy", "adapter": adapter}
        return [
            {**cell, "reference": reference, "seed": n, "reference_seed": n, "difference": value}
            for n, value in enumerate(values)
        ]

    table = pd.DataFrame(
        [*rows("clear", [5.0, 5.1, 4.9]), *rows("loose", [9.0, -4.0, 2.0]), *rows("once", [7.0]),
         *rows("same", [1.0, 1.0])]
    )  # fmt: skip
    # A reference of one training is no sample of its kind.
    single = pd.DataFrame(rows("clear", [5.0, 5.1, 4.9], "none")).assign(reference_seed=0)
    found = differences_over_seeds(pd.concat([table, single])).set_index("adapter")
    assert list(found.index) == ["clear", "loose", "same"]
    expected = ttest_1samp([5.0, 5.1, 4.9], 0)
    assert found.loc["clear", "p_value"] == pytest.approx(expected.pvalue)
    assert found.loc["clear", "p_holm"] == pytest.approx(2 * expected.pvalue)
    assert found.loc["loose", "low"] < 0 < found.loc["loose", "high"]
    assert (found.loc["loose", "smallest"], found.loc["loose", "largest"]) == (-4.0, 9.0)
    assert math.isnan(found.loc["same", "p_holm"])
    assert differences_over_seeds(pd.DataFrame()).empty
    both = [*rows("random", [1.0, 2.0], "none"), *rows("none", [-1.0, -2.0], "random")]
    once = differences_over_seeds(pd.DataFrame(both))
    assert once[["adapter", "reference"]].to_numpy().tolist() == [["random", "none"]]


@pytest.mark.parametrize("groups", [400, 6000])
@pytest.mark.parametrize("excess", [2, 40])
def test_patterns_drawn_in_pieces_are_mcnemars(groups: int, excess: int) -> None:
    """Many ties with what was observed, and more groups than one piece of patterns can hold."""
    more = (groups + excess) // 2
    difference = np.array([1.0] * more + [-1.0] * (groups - more))
    exact = mcnemar(difference > 0, difference < 0)
    found = permutation(difference, resamples=4000)
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000) + 1e-3)


def test_groups_that_do_not_change_change_no_p_value() -> None:
    """Five that do are tried in all 32 patterns, however many others there are."""
    five = [1.0, 1.0, 0.5, 1.0, -0.25]
    assert permutation([*five, *[0.0] * 500]) == permutation(five)
