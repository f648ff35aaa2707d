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

from langneurons.artifacts import write_table
from langneurons.errors import ArtifactError, InputError
from langneurons.evaluation import (
    Scores,
    across_seeds,
    among_sets,
    compare,
    detectable_over_seeds,
    differences_over_seeds,
    holm,
    mcnemar,
    minimum_detectable_effect,
    permutation,
    ratio_interval,
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
    for trial in range(120):
        # Items of a premise are nearly copies of each other.
        premise = rng.random(60) < 0.5
        values = np.repeat(premise, 5).astype(float)
        clusters = np.repeat(np.arange(60), 5)
        for name, given_clusters in (("clustered", clusters), ("plain", None)):
            low, high = ratio_interval(
                values, np.ones(300), clusters=given_clusters, resamples=400, seed=trial
            )
            hits[name] += low <= 0.5 <= high
    assert hits["clustered"] >= 107  # 95 % of 120 less three standard errors
    assert hits["plain"] <= 90


def test_interval_of_a_ratio_matches_a_bootstrap_written_out() -> None:
    rng = np.random.default_rng(1)
    top, bottom = rng.random(40) * 10, rng.integers(1, 20, 40).astype(float)
    draws = np.random.default_rng(7).integers(0, 40, (20_000, 40))
    expected = np.quantile(top[draws].sum(1) / bottom[draws].sum(1), [0.025, 0.975])
    found = ratio_interval(top, bottom, resamples=20_000, seed=2)
    assert found == pytest.approx(expected, rel=0.01)
    bca = ratio_interval(top, bottom, method="BCa", seed=2)
    assert bca[0] < top.sum() / bottom.sum() < bca[1]


def test_nothing_to_resample_gives_no_interval() -> None:
    assert all(math.isnan(x) for x in ratio_interval([1.0], [1.0]))
    assert all(math.isnan(x) for x in ratio_interval([1.0, 0.0], [1.0, 1.0], clusters=["a", "a"]))
    assert ratio_interval([1.0, 1.0], [1.0, 1.0]) == (1.0, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_by_definition(pairs: list[tuple[bool, bool]]) -> None:
    first = [a for a, _ in pairs]
    second = [b for _, b in pairs]
    b = sum(x and not y for x, y in pairs)
    c = sum(y and not x for x, y in pairs)
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))


@settings(deadline=None)
@given(st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]), min_size=2, max_size=8))
def test_permutation_by_trying_all_signs(differences: list[float]) -> None:
    observed = abs(sum(differences))
    signs = list(itertools.product([1, -1], repeat=len(differences)))
    extreme = sum(
        abs(sum(s * d for s, d in zip(pattern, differences, strict=True))) >= observed - 1e-9
        for pattern in signs
    )
    assert permutation(differences) == pytest.approx(extreme / len(signs))


def test_permutation_flips_whole_clusters() -> None:
    difference = [1.0] * 12
    assert permutation(difference) == pytest.approx(2 / 2**12)
    # Four paragraphs of three questions are four coins, not twelve.
    assert permutation(difference, np.repeat(np.arange(4), 3)) == pytest.approx(2 / 2**4)
    assert permutation([0.0, 0.0]) == 1.0


def test_a_test_without_effect_keeps_its_level() -> None:
    rng = np.random.default_rng(3)
    false = 0
    for trial in range(300):
        values = rng.normal(size=40)
        false += permutation(values, resamples=999, seed=trial) < 0.05
    assert false <= 28  # 5 % of 300 plus three and a half standard errors


def test_minimum_detectable_effect_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(4)
    n, spread = 100, 2.0
    pilot = rng.normal(0, spread, n)
    effect = minimum_detectable_effect(pilot)
    assert effect == pytest.approx((1.959964 + 0.841621) * pilot.std(ddof=1) / 10, rel=1e-6)
    true = (1.959964 + 0.841621) * spread / 10
    found = sum(
        permutation(rng.normal(true, spread, n), resamples=499, seed=i) < 0.05 for i in range(200)
    )
    assert 140 <= found <= 180
    # No example differs: not "zero", but what n examples can rule out.
    assert minimum_detectable_effect(np.zeros(300)) == pytest.approx(1.0)
    assert math.isnan(minimum_detectable_effect([1.0]))


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
    assert change.p_value == pytest.approx(2 / 2**12)
    assert change.low < 30 < change.high
    assert change.low > 0
    assert change.significant()
    assert not change.significant(p_value=0.2)
    assert (change.n, change.clusters) == (40, 40)
    same = compare(a, a)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert same.minimum_detectable_effect == pytest.approx(7.5)
    assert not same.significant()


def test_clusters_can_take_a_difference_away() -> None:
    # All twelve changed answers belong to one paragraph.
    group = ["p"] * 12 + [f"g{i}" for i in range(6)] * 2
    a = scores([1] * 12 + [1, 0] * 6, group)
    b = scores([0] * 12 + [1, 0] * 6, group)
    change = compare(a, b)
    assert change.p_value < 0.001
    assert change.low <= 0
    assert not change.significant()
    assert compare(a, b, test="permutation").p_value == 1.0


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
    with pytest.raises(InputError, match="McNemar"):
        compare(scores([0.5, 0]), scores([1, 0]), test="mcnemar")


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
