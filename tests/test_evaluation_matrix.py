"""Perplexity change and evaluation under interventions, against hooks written out by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch

import tiny
from langneurons.errors import InputError
from langneurons.evaluation import evaluate, perplexity, perplexity_change, specificity
from langneurons.identification import NeuronSet, Units
from langneurons.intervention import Intervention, Value
from langneurons.models import LanguageModel
from test_evaluation_runs import Pairs, Questions, classifier, greedy

TEXTS = {
    "en": ["the cat and the dog " * 3, "a dog and a cat " * 2, "the the cat " * 4],
    "hi": ["बिल्ली और कुत्ता", "कुत्ता " * 3, "और " * 5],
    "zh": ["猫和狗", "狗狗狗", "猫 and 狗"],
}
UNITS = {
    "en": Units([0, 0, 1], [1, 5, 7]),
    "hi": Units([1, 1], [3, 9]),
    "zh": Units([], []),
}


def neurons(lm: LanguageModel) -> NeuronSet:
    shape = (tiny.LAYERS, tiny.UNITS)
    return NeuronSet(UNITS, shape, model=lm.fingerprint)


@contextlib.contextmanager
def zeroed(lm: LanguageModel, units: Units) -> Iterator[None]:
    handles = []
    for layer, index in zip(units.layers.tolist(), units.indices.tolist(), strict=True):

        def hook(_m: object, _a: object, out: torch.Tensor, index: int = index) -> torch.Tensor:
            changed = out.clone()
            changed[..., index] = 0.0
            return changed

        handles.append(lm.model.model.layers[layer].mlp.act_fn.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_cells_by_definition() -> None:
    lm = tiny.lm("llama")
    change = perplexity_change(lm, neurons(lm), TEXTS, 0.0, controls={"random": 3})
    table = change.table
    assert len(table) == 9 + 2 * 3  # no control for a language without units
    for row in table[table["kind"] == "own"].itertuples():
        untouched = perplexity(lm, TEXTS[row.column])
        with zeroed(lm, UNITS[row.row]):
            touched = perplexity(lm, TEXTS[row.column], batch_size=1)
        assert row.baseline == pytest.approx(untouched.value, rel=1e-5)
        assert row.perplexity == pytest.approx(touched.value, rel=1e-4)
        assert row.ratio == pytest.approx(touched.value / untouched.value, rel=1e-4)
        assert row.loss_change == pytest.approx(np.log(row.ratio), abs=1e-6)
        assert row.change == pytest.approx(row.perplexity - row.baseline)
        assert row.tokens == untouched.tokens
        assert row.low <= row.ratio * (1 + 1e-9)
        assert row.high >= row.ratio * (1 - 1e-9)
    matrix = change.matrix()
    assert matrix.index.tolist() == matrix.columns.tolist() == ["en", "hi", "zh"]
    assert (matrix.loc["zh"] == 1.0).all()
    summary = change.summary().set_index("row")
    draws = table[(table["kind"] == "random") & (table["row"] == "en")]
    assert draws["column"].tolist() == ["en"] * 3
    assert draws["seed"].tolist() == [0, 1, 2]
    assert draws["ratio"].nunique() > 1
    assert summary.loc["en", "random_max"] == draws["ratio"].max()
    assert summary.loc["en", "beyond_random"] == (summary.loc["en", "ratio"] > draws["ratio"].max())
    assert summary.loc["en", "largest_in_row"] == (matrix.loc["en"].idxmax() == "en")


def test_one_row_at_a_time_gives_the_same_and_measures_baselines_once() -> None:
    lm = tiny.lm("llama")
    whole = perplexity_change(lm, neurons(lm), TEXTS, controls={"random": [7]})
    baseline: dict = {}
    parts = [
        perplexity_change(
            lm,
            neurons(lm).select([lang]),
            TEXTS,
            controls={"random": [7]},
            baseline=baseline,
        ).table
        for lang in TEXTS
    ]
    assert set(baseline) == set(TEXTS)
    ratios = [value for part in parts for value in part["ratio"]]
    assert ratios == pytest.approx(whole.table["ratio"].tolist())


def test_values_by_language_and_other_modes() -> None:
    lm = tiny.lm("llama")
    values = {"en": 2.0, "hi": Value.constant(-1.0), "zh": 0.0}
    change = perplexity_change(lm, neurons(lm), TEXTS, values).matrix()
    same = perplexity_change(lm, neurons(lm).select(["en"]), TEXTS, 2.0).matrix()
    assert change.loc["en"].tolist() == pytest.approx(same.loc["en"].tolist())
    off = perplexity_change(lm, neurons(lm), TEXTS, 0.0, mode="multiply").matrix()
    zero = perplexity_change(lm, neurons(lm), TEXTS, 0.0).matrix()
    assert off.to_numpy() == pytest.approx(zero.to_numpy())
    with pytest.raises(InputError, match="no value is given for the neurons of 'hi'"):
        perplexity_change(lm, neurons(lm), TEXTS, {"en": 0.0})


def test_what_cannot_be_done_is_said() -> None:
    lm = tiny.lm("llama")
    with pytest.raises(InputError, match="matched controls need statistics"):
        perplexity_change(lm, neurons(lm), TEXTS, controls={"matched": 2})
    with pytest.raises(InputError, match="load controls need statistics"):
        perplexity_change(lm, neurons(lm), TEXTS, controls={"load": 1})
    with pytest.raises(InputError, match="unknown control 'rnd'"):
        perplexity_change(lm, neurons(lm), TEXTS, controls={"rnd": 2})
    with pytest.raises(InputError, match="at least one language"):
        perplexity_change(lm, neurons(lm), {})
    with pytest.raises(InputError):
        perplexity_change(tiny.lm("llama", seed=5), neurons(lm), TEXTS)
    change = perplexity_change(lm, neurons(lm), TEXTS)
    with pytest.raises(InputError, match="quantity 'ratios'"):
        change.matrix("ratios")
    with pytest.raises(InputError, match="kind of units 'random'"):
        change.matrix(kind="random")


def test_evaluation_under_an_intervention_is_that_of_the_changed_model() -> None:
    lm = tiny.lm("llama")
    units = Units([0] * 20 + [1] * 20, [*range(20), *range(20)])
    touch = Intervention(units, 0.0)
    plain = evaluate(lm, Pairs())
    found = evaluate(lm, Pairs(), intervention=touch)
    with zeroed(lm, units):
        expected = evaluate(lm, Pairs())
    for one, other in zip(
        found.rows["log_likelihoods"], expected.rows["log_likelihoods"], strict=True
    ):
        assert list(one) == pytest.approx(list(other), abs=1e-4)
    assert found.rows["log_likelihoods"].tolist() != plain.rows["log_likelihoods"].tolist()
    assert found.details["intervention"] != plain.details["intervention"]
    again = evaluate(lm, Pairs())
    assert again.rows["log_likelihoods"].tolist() == plain.rows["log_likelihoods"].tolist()


def test_generation_under_an_intervention_reaches_cached_tokens() -> None:
    lm, task = tiny.lm("llama"), Questions()
    units = Units([0] * 20 + [1] * 20, [*range(20), *range(20)])
    found = evaluate(lm, task, intervention=Intervention(units, 0.0), batch_size=4)
    with zeroed(lm, units):
        for example, row in zip(task.examples("en"), found.rows.itertuples(), strict=True):
            ids = greedy(lm, lm.tokenizer(task.encode(example))["input_ids"], 6)
            text = lm.tokenizer.decode(ids, skip_special_tokens=True)
            assert row.prediction == text.split("\n")[0].strip()


def test_a_classification_head_is_reached_too() -> None:
    lm = classifier()
    units = Units([0] * 20, [*range(20)])
    found = evaluate(lm, Pairs(), intervention=Intervention(units, 3.0))
    plain = evaluate(lm, Pairs())
    moved = [
        list(a) != list(b)
        for a, b in zip(found.rows["log_likelihoods"], plain.rows["log_likelihoods"], strict=True)
    ]
    assert all(moved)


def test_specificity_says_which_sets_matter_to_their_own_language() -> None:
    def cell(row: str, column: str, kind: str, ratio: float, seed: int = 0) -> dict:
        return {"neurons": "s", "row": row, "column": column, "kind": kind, "seed": seed,
                "units": 5, "ratio": ratio, "low": ratio * 0.9, "high": ratio * 1.1}  # fmt: skip

    table = pd.DataFrame(
        [
            *(cell("a", "a", "own", 8.0), cell("a", "b", "own", 2.0)),  # beyond all
            *(cell("b", "b", "own", 2.0), cell("b", "a", "own", 4.0)),  # hurts the other more
            *(cell("a", "a", "random", 1.0), cell("a", "a", "random", 4.0, seed=1)),
            *(cell("b", "b", "random", 1.0), cell("b", "b", "random", 1.0, seed=1)),
            *(cell("a", "a", "matched", 7.0), cell("b", "b", "matched", 1.9)),
            {**cell("c", "c", "own", 1.0), "units": 0},
            {**cell("c", "a", "own", 1.0), "units": 0},
        ]
    )
    (line,) = specificity(table).to_dict("records")
    assert line["neurons"] == "s"
    assert line["languages"] == 2
    assert line["units"] == 5
    assert line["own"] == pytest.approx(4.0)
    assert (line["own_low"], line["own_high"]) == pytest.approx((3.6, 4.4))
    assert line["others_low"] == pytest.approx(0.9 * 8**0.5)
    assert line["others"] == pytest.approx(8**0.5)
    assert line["random"] == pytest.approx(4 ** (1 / 4))
    assert line["matched"] == pytest.approx((7 * 1.9) ** 0.5)
    assert line["beyond_others"] == 1
    assert line["beyond_random"] == 2
    assert line["beyond_matched"] == 1  # 2.0 is above 1.9, its lower bound is not
    assert line["specific"] == 1
    alone = specificity(table[(table["row"] == "a") & (table["column"] == "a")])
    assert np.isnan(alone.loc[0, "others"])
    assert alone.loc[0, "specific"] == 1
    unknown = table.assign(low=[np.nan, *table["low"][1:]])
    assert np.isnan(specificity(unknown).loc[0, "own_low"])  # not the mean of the rest
    assert specificity(table[table["row"] == "c"]).empty
