"""Sizes for the next experiment: by definition, and by simulating that experiment."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from langneurons.evaluation import minimum_detectable_effect, planning, seeds_needed, size_needed
from langneurons.reporting.answer import planned
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
    found = 0
    for _ in range(400):
        sample = experiment(size, 3.0)
        found += abs(sample.mean()) > stats.norm.ppf(0.975) * sample.std(ddof=1) / math.sqrt(size)
    assert 0.70 < found / 400 < 0.90


def test_the_planned_number_of_seeds_finds_the_difference():
    rng = np.random.default_rng(1)
    spread, seeds = 2.0, seeds_needed(2.0, 1.5)
    found = 0
    for _ in range(400):
        a, b = rng.normal(0, spread, seeds), rng.normal(1.5, spread, seeds)
        found += stats.norm.ppf(0.975) < abs(a.mean() - b.mean()) / (spread * math.sqrt(2 / seeds))
    assert 0.70 < found / 400 < 0.90
    assert seeds_needed(0.0) == 2


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
    error = width / (2 * stats.norm.ppf(0.975))
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert tokens.loc["hi", "detectable"] == pytest.approx(100 * math.expm1(z * error))
    expected = 20_000 * (z * error / math.log(1.01)) ** 2
    assert tokens.loc["hi", "needed"] == pytest.approx(expected, abs=1)
    said = " ".join(sentence.text for sentence in planned(table))
    assert "one point would be found four times in five with" in said
    assert "seeds each" in said


def test_comparisons_in_which_no_example_changed_are_left_out():
    scores = scores_table(np.random.default_rng(4), languages=("hi",), tasks=("mini-nli",))
    still = (scores["units"] == "own") & (scores["intervention"] == "zero")
    scores.loc[still, ["difference", "difference_low", "difference_high"]] = 0.0
    scores.loc[still, "mde"] = 100.0  # three over few groups: no variance, nothing to scale
    (row,) = planning(scores, pd.DataFrame()).to_dict("records")
    assert row["detectable"] == pytest.approx(2.8 * 0.6)
    scores = scores.assign(difference_low=0.0, difference_high=0.0)
    assert planning(scores, pd.DataFrame()).empty


def test_nothing_measured_gives_no_row():
    assert planning(pd.DataFrame(), pd.DataFrame()).empty
    flat = perplexity_table(np.random.default_rng(3), languages=("en",), draws=1)
    assert planning(pd.DataFrame(), flat.assign(low=1.0, high=1.0)).empty
