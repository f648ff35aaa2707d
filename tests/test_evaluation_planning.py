"""Sizes for the next experiment: by definition, and by simulating that experiment."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from langneurons.evaluation import (
    detectable_over_seeds,
    minimum_detectable_effect,
    permutation,
    planning,
    seeds_needed,
    size_needed,
)
from langneurons.parts.planning.page import planned
from reporting_run import perplexity_table, scores_table


def test_the_planned_number_of_examples_finds_the_effect_four_times_in_five():
    rng = np.random.default_rng(0)

    def experiment(size: int, shift: float) -> np.ndarray:
        """Paired differences in points: most 0, some +100 or -100, with a mean of ``shift``."""
        up, down = 0.10 + shift / 200, 0.10 - shift / 200
        return 100 * rng.choice([1.0, -1.0, 0.0], size, p=[up, down, 1 - up - down])

    pilot = experiment(400, 0)
    detectable = minimum_detectable_effect(pilot)
    size = math.ceil(size_needed(400, detectable, 3.0))
    found = sum(
        permutation(experiment(size, 3.0), resamples=499, seed=n) < 0.05 for n in range(300)
    )
    assert 0.70 < found / 300 < 0.90


@pytest.mark.parametrize("effect", [1.5, 4.0, 12.0])
def test_the_planned_number_of_seeds_finds_the_difference(effect):
    rng = np.random.default_rng(1)
    spread, seeds = 2.0, seeds_needed(2.0, effect)
    pairs = rng.normal(effect, spread * math.sqrt(2), (4000, seeds))
    found = (stats.ttest_1samp(pairs, 0, axis=1).pvalue < 0.05).mean()
    assert found > 0.78
    # One seed less, and it would be found less often.
    if seeds > 2:
        assert detectable_over_seeds(spread * math.sqrt(2), seeds - 1) > effect
    assert seeds_needed(0.0) == 2


def test_seeds_are_planned_by_the_test_that_compares_them():
    """Three seeds of a spread of one point: 4.62 points by t, where the normal says 2.29."""
    rng = np.random.default_rng(2)
    scores = scores_table(rng, languages=("en", "hi"), seeds=(0, 1, 2), tasks=("mini-nli",))
    plain = scores["intervention"] == "none"
    scores.loc[plain, "value"] = 50.0 + scores.loc[plain, "seed"]
    row = planning(scores, pd.DataFrame()).set_index("of").loc["seeds"].iloc[0]
    assert row["detectable"] == pytest.approx(4.62, abs=0.01)
    two = planning(scores[~plain | (scores["seed"] < 2)], pd.DataFrame())
    spread = math.sqrt(0.5)
    detectable = two.set_index("of").loc["seeds"].iloc[0]["detectable"]
    assert detectable == pytest.approx(16.3 * spread, rel=0.005)


def test_tables_of_a_run_become_sizes():
    rng = np.random.default_rng(2)
    scores = scores_table(rng, languages=("en", "hi"), seeds=(0, 1, 2), tasks=("mini-nli",))
    texts = perplexity_table(rng, languages=("en", "hi"), draws=1)
    table = planning(scores, texts)
    assert set(table["of"]) == {"examples", "seeds", "tokens"}
    examples = table[table["of"] == "examples"].set_index("lang")
    assert examples.loc["hi", "needed"] == math.ceil(1000 * (2.8 * 0.6) ** 2)
    seeds = table[table["of"] == "seeds"].set_index("name")
    plain = scores[(scores["intervention"] == "none") & (scores["adapter"] == "english")]
    variance = plain.groupby("language")["value"].var().mean()
    assert seeds.loc["mini-nli, accuracy, english", "needed"] == seeds_needed(variance**0.5)
    tokens = table[table["of"] == "tokens"].set_index("lang")
    own = texts[(texts["kind"] == "own") & (texts["row"] == "hi") & (texts["column"] == "hi")]
    width = float(np.log(own["high"] / own["low"]).iloc[0])
    freedom = int(own["documents"].iloc[0]) - 1
    error = width / (2 * stats.t.ppf(0.975, freedom))
    z = detectable_over_seeds(math.sqrt(freedom + 1), freedom + 1)
    assert tokens.loc["hi", "detectable"] == pytest.approx(100 * math.expm1(z * error))
    expected = 20_000 * (z * error / math.log(1.01)) ** 2
    assert tokens.loc["hi", "needed"] == pytest.approx(expected, abs=1)
    said = " ".join(sentence.text for sentence in planned(table))
    assert "one point would be found four times in five with" in said
    assert "seeds each" in said


def test_comparisons_in_which_no_example_changed_are_left_out():
    scores = scores_table(np.random.default_rng(4), languages=("hi",), tasks=("mini-nli",))
    still = (scores["units"] == "own") & (scores["intervention"] == "zero")
    scores.loc[still, "difference"], scores.loc[still, "p_value"] = 0.0, 1.0
    scores.loc[still, "mde"] = 100.0  # of few groups: no variance, nothing to scale
    (row,) = planning(scores, pd.DataFrame()).to_dict("records")
    assert row["detectable"] == pytest.approx(2.8 * 0.6)
    scores = scores.assign(p_value=1.0)
    assert planning(scores, pd.DataFrame()).empty


def test_nothing_measured_gives_no_row():
    assert planning(pd.DataFrame(), pd.DataFrame()).empty
    flat = perplexity_table(np.random.default_rng(3), languages=("en",), draws=1)
    assert planning(pd.DataFrame(), flat.assign(low=1.0, high=1.0)).empty
