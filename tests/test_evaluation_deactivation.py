"""True deactivation: ranges, residual stream and the site question, by definition."""

import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest
import torch

import tiny
from identification_make import statistics_of
from langneurons import evaluation
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.evaluation import perplexity
from langneurons.evaluation.crossing import READINGS, cross
from langneurons.evaluation.deactivation import deactivate, place_in_range
from langneurons.evaluation.residual import change, residual_change
from langneurons.identification import NeuronSet, Units
from langneurons.intervention import Intervention, Value, intervene
from langneurons.statistics import collect

TEXTS = [f"the cat number {n} and the dog run over hill {n * 7}" for n in range(12)]
UNITS = Units([0, 0, 1], [3, 20, 7])


@pytest.fixture(scope="module")
def lm():
    return tiny.lm("llama", hidden_act="silu")


@pytest.fixture(scope="module")
def stats(lm):
    return collect(lm, {"en": TEXTS}, block=16, rows=10_000)


def neurons(lm, units=UNITS):
    return NeuronSet({"en": units}, (lm.layers, tiny.UNITS), site="mlp.act", method="given")


def test_the_stream_by_definition(lm):
    blocks = make_blocks(TEXTS, lm.tokenizer, block=16)
    done = Intervention(UNITS, 2.0)
    table = residual_change(lm, blocks, {"none": None, "two": done}, level=0.9)
    assert len(table) == 2 * lm.layers * 3
    sums: dict[str, list[float]] = {"norm_ratio": [], "cosine": [], "displacement": []}
    for ids, counted in zip(blocks.input_ids, blocks.counted, strict=True):
        ids = ids[None, : int(counted.nonzero().max()) + 1]
        with torch.no_grad():
            plain = lm.backbone(input_ids=ids, output_hidden_states=True).hidden_states[1][0]
            with intervene(lm, done):
                other = lm.backbone(input_ids=ids, output_hidden_states=True).hidden_states[1][0]
        for place in counted.nonzero().flatten().tolist():
            r, s = plain[place].double().numpy(), other[place].double().numpy()
            sums["norm_ratio"].append(np.linalg.norm(s) / np.linalg.norm(r))
            sums["cosine"].append(r @ s / np.linalg.norm(r) / np.linalg.norm(s))
            sums["displacement"].append(np.linalg.norm(s - r) / np.linalg.norm(r))
    two = table[(table["label"] == "two") & (table["layer"] == 0)].set_index("quantity")
    for name, values in sums.items():
        assert two.loc[name, "value"] == pytest.approx(np.mean(values), rel=1e-4)
        assert two.loc[name, "low"] <= np.mean(values) <= two.loc[name, "high"]
        assert two.loc[name, "tokens"] == len(values) == blocks.tokens
    none = table[table["label"] == "none"].set_index("quantity")["value"]
    assert none["norm_ratio"].tolist() == none["cosine"].tolist() == pytest.approx([1.0, 1.0])
    assert none["displacement"].tolist() == [0.0, 0.0]


def test_a_stream_of_norm_zero_counts_as_unchanged():
    found = change(torch.zeros(1, 3), torch.zeros(1, 3))
    assert found.flatten().tolist() == [1.0, 1.0, 0.0]


def test_places_in_the_range_by_definition(lm, stats):
    """Every token row is kept, so quantiles and extremes are those of the rows."""
    written = 0.05
    done = Intervention(UNITS, written)
    found = place_in_range(lm, done, stats, "en")
    below = above = unusual = 0
    distances = []
    for layer, index in UNITS:
        rows = stats.rows("en", layer)[:, index].double().numpy()
        below += written < rows.min()
        above += written > rows.max()
        first, last = np.quantile(rows, [0.01, 0.99])
        unusual += not first <= written <= last
        distances.append(abs(written - rows.mean()) / rows.std())
    assert found["below"] == below / 3
    assert found["above"] == above / 3
    assert found["unusual"] == unusual / 3
    assert found["distance"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert found["impossible"] == 0
    far = place_in_range(lm, Intervention(UNITS, -1.0), stats, "en")
    assert far["below"] == far["impossible"] == far["unusual"] == 1
    own = Intervention(UNITS, Value.quantile(stats, "en", 0.5))
    middle = place_in_range(lm, own, stats, "en")
    assert middle["below"] == middle["above"] == middle["unusual"] == 0
    scaled = place_in_range(lm, Intervention(UNITS, 2.0, "multiply"), stats, "en")
    assert all(math.isnan(value) for value in scaled.values())


def test_a_value_at_the_end_of_the_range_lies_within(lm, stats):
    """Also where the range is one number: a unit that never varies, set to what it is."""
    rows = {"en": torch.zeros(2, 20, 48)}
    still = statistics_of(rows)
    found = place_in_range(lm, Intervention(UNITS, 0.0), still, "en")
    assert found["below"] == found["above"] == found["unusual"] == 0
    assert math.isnan(found["distance"])
    for end in (stats.minimum("en"), stats.maximum("en")):
        layer, index = next(iter(UNITS))
        one = Intervention(Units([layer], [index]), float(end[layer, index]))
        found = place_in_range(lm, one, stats, "en")
        assert found["below"] == found["above"] == 0


def test_a_sweep_has_controls_and_both_tables(lm, stats):
    blocks = make_blocks(TEXTS, lm.tokenizer, block=16)
    changes = {"zero": {"value": 0.0}, "x2": {"value": 2.0, "mode": "multiply"}}
    found = deactivate(
        lm, neurons(lm), "en", blocks, changes, stats, random=2, matched=1, residual_blocks=3
    )
    assert len(found.table) == 2 * 4
    assert set(zip(found.table["kind"], found.table["seed"], strict=True)) == {
        ("own", 0), ("random", 0), ("random", 1), ("matched", 0),
    }  # fmt: skip
    row = found.table[(found.table["value"] == "x2") & (found.table["kind"] == "own")].iloc[0]
    touched = perplexity(lm, blocks, intervention=Intervention(UNITS, 2.0, "multiply"))
    assert row["ratio"] == pytest.approx(touched.value / perplexity(lm, blocks).value)
    assert len(found.residual) == 2 * 4 * lm.layers * 3
    with pytest.raises(InputError, match="has no unit for en"):
        deactivate(lm, neurons(lm, Units.empty()), "en", blocks, changes, stats)


def test_the_site_question_by_definition(lm, stats):
    blocks = make_blocks(TEXTS, lm.tokenizer, block=16)
    before = collect(lm, {"en": TEXTS}, site="mlp.pre", block=16, rows=10_000)
    table = cross(lm, neurons(lm), "en", blocks, ["mean", "P10"], stats, before, random=1)
    assert len(table) == 2 * 2 * len(READINGS)
    plain = perplexity(lm, blocks).loss
    for value, quantity in (("mean", before.mean("en")), ("P10", before.quantile("en", 0.1))):
        part = table[(table["value"] == value) & (table["kind"] == "own")].set_index("reading")
        written = Value.of(quantity)
        paper = perplexity(lm, blocks, intervention=Intervention(UNITS, written)).loss
        clipped = Value.of(quantity.clamp(min=-0.27846454))  # the smallest value of SiLU
        inside = Intervention(UNITS, Value.of(quantity), site="mlp.pre")
        losses = {
            "paper": paper,
            "clipped": perplexity(lm, blocks, intervention=Intervention(UNITS, clipped)).loss,
            "inside": perplexity(lm, blocks, intervention=inside).loss,
        }
        for reading, loss in losses.items():
            assert part.loc[reading, "ratio"] == pytest.approx(math.exp(loss - plain), rel=1e-5)
        row = part.loc["paper"]
        assert row["beyond"] == pytest.approx(paper - losses["clipped"], abs=1e-6)
        assert row["beyond_low"] <= row["beyond"] <= row["beyond_high"]
        out = quantity[UNITS.layers, UNITS.indices] < -0.2784645
        assert row["impossible"] == pytest.approx(float(out.double().mean()))
        if math.isfinite(row["share"]):
            assert row["share"] == pytest.approx(row["beyond"] / (paper - plain), rel=1e-6)
        assert part.loc[["strict", "clipped", "inside"], "beyond"].isna().all()


def test_clipping_is_the_activation_function_where_that_is_a_clip():
    """With ReLU the clipped reading and the one in front of the function are the same model."""
    lm = tiny.lm("llama", hidden_act="relu")
    stats = collect(lm, {"en": TEXTS}, block=16, rows=10_000)
    before = collect(lm, {"en": TEXTS}, site="mlp.pre", block=16, rows=10_000)
    blocks = make_blocks(TEXTS, lm.tokenizer, block=16)
    table = cross(lm, neurons(lm), "en", blocks, ["P25"], stats, before, random=0)
    ratio = table.set_index("reading")["ratio"]
    assert ratio["clipped"] == pytest.approx(ratio["inside"], rel=1e-6)
    with pytest.raises(InputError, match=r"units of mlp.act, not of 'mlp.out'"):
        cross(
            lm, NeuronSet({"en": UNITS}, (2, 48), site="mlp.out", method="x"), "en", blocks,
            ["P10"], stats, before,
        )  # fmt: skip


def test_every_interval_is_of_95_percent_where_nothing_is_asked():
    levels = {}
    for found in pkgutil.iter_modules(evaluation.__path__, f"{evaluation.__name__}."):
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            asked = inspect.signature(function).parameters.get("level")
            if asked is not None and asked.default is not inspect.Parameter.empty:
                levels[f"{found.name}.{name}"] = asked.default
    assert len(levels) > 10
    assert set(levels.values()) == {0.95}, levels
