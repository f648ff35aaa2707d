"""Values from statistics, the paper's crossing of sites, and the activation function's range."""

import pytest
import torch

import tiny
from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.intervention import (
    Intervention,
    OutOfRangeWarning,
    Value,
    activation_range,
    intervene,
    share_out_of_range,
)
from langneurons.statistics import collect

TEXTS = {
    "en": ["the cat and the dog sat on the mat " * 3],
    "hi": ["बिल्ली और कुत्ता चटाई पर बैठे " * 3],
    "ru": ["кошка и собака сидели на ковре " * 3],
}


@pytest.fixture(scope="module")
def lm():
    return tiny.lm("llama")


@pytest.fixture(scope="module")
def act(lm):
    return collect(lm, TEXTS, site="mlp.act", block=32)


@pytest.fixture(scope="module")
def pre(lm):
    return collect(lm, TEXTS, site="mlp.pre", block=32)


def test_values_are_the_statistics(act):
    shape = act.shape
    for value, expected, name in [
        (Value.mean(act, "hi"), act.mean("hi"), "mean"),
        (Value.minimum(act, "hi"), act.minimum("hi"), "min"),
        (Value.maximum(act, "hi"), act.maximum("hi"), "max"),
        (Value.quantile(act, "hi", 0.9), act.quantile("hi", 0.9), "P90"),
        (Value.quantile(act, "hi", 0.025), act.quantile("hi", 0.025), "P2.5"),
        (
            Value.mean_of_others(act, "hi"),
            (act.mean("en").double() + act.mean("ru").double()) / 2,
            "mean-others",
        ),
    ]:
        torch.testing.assert_close(value.resolve(shape), expected.float())
        assert value.name == name
    assert Value.constant(0).name == "zero"
    assert Value.constant(-10).name == "-10"
    assert (Value.constant(-1).resolve(shape) == -1).all()
    clip = Value.clip(Value.quantile(act, "hi", 0.1), Value.quantile(act, "hi", 0.9))
    assert clip.name == "clip(P10, P90)"
    assert torch.equal(clip.resolve_high(shape), act.quantile("hi", 0.9).float())


def test_wrong_questions_to_statistics_are_one_line(act):
    with pytest.raises(InputError, match="unknown language of the statistics 'ur'"):
        Value.mean(act, "ur")
    with pytest.raises(InputError, match=r"0\.9 is P90"):
        Value.quantile(act, "hi", 90)
    with pytest.raises(InputError, match="more than 'hi'"):
        Value.mean_of_others(act.select(["hi"]), "hi")


def test_strict_refuses_statistics_of_another_site(lm, pre, act):
    units = Units([0], [0])
    with pytest.raises(InputError, match="or choose protocol='paper'"):
        Intervention(units, Value.mean(pre, "hi"))
    with pytest.raises(InputError, match=r"statistic of 'mlp.act', the units are of 'mlp.out'"):
        Intervention(units, Value.mean(act, "hi"), site="mlp.out", protocol="paper")


def test_paper_writes_pre_activations_and_says_how_many_are_impossible(lm, pre, act):
    mask = torch.ones(act.shape, dtype=torch.bool)
    units = Units.from_mask(mask)
    low = pre.quantile("hi", 0.1)
    expected = float((low < -0.2785 * 1.005).double().mean())
    assert 0.05 < expected < 0.95
    crossed = Intervention(units, Value.quantile(pre, "hi", 0.1), protocol="paper")
    assert share_out_of_range(lm, crossed) == pytest.approx(expected, abs=0.02)
    with pytest.warns(OutOfRangeWarning, match=r"% of the values written by 'P10'.*-0\.2785"):  # noqa: SIM117
        with intervene(lm, crossed):
            pass


def test_own_statistics_are_always_possible(lm, act):
    units = Units.from_mask(torch.ones(act.shape, dtype=torch.bool))
    for value in (0.0, Value.minimum(act, "hi"), Value.maximum(act, "hi"), Value.mean(act, "hi")):
        assert share_out_of_range(lm, Intervention(units, value)) == 0
    assert share_out_of_range(lm, Intervention(units, -10)) == 1
    assert share_out_of_range(lm, Intervention(units, -10, mode="add")) == 0


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (torch.nn.SiLU(), -0.278465, float("inf")),
        (torch.nn.GELU(), -0.169971, float("inf")),
        (torch.nn.GELU(approximate="tanh"), -0.170041, float("inf")),
        (torch.nn.ReLU(), 0.0, float("inf")),
        (torch.nn.Tanh(), -1.0, 1.0),
        (torch.nn.LeakyReLU(), -float("inf"), float("inf")),
    ],
)
def test_activation_ranges(function, low, high):
    assert activation_range(function) == pytest.approx((low, high), abs=1e-5)


def test_identity_is_equal_exactly_when_the_effect_is(act):
    units = Units([0, 1], [3, 4])
    base = Intervention(units, Value.mean(act, "hi"))
    assert base.identity() == Intervention(units, Value.mean(act, "hi"), name="x").identity()
    others = [
        Intervention(units, Value.mean(act, "en")),
        Intervention(Units([0], [3]), Value.mean(act, "hi")),
        Intervention(units, Value.mean(act, "hi"), mode="add"),
        Intervention(units, Value.mean(act, "hi"), scope="prompt"),
        Intervention(units, Value.mean(act, "hi"), start=2),
        Intervention(units, Value.mean(act, "hi"), probability=0.5),
        Intervention(units, Value.unit(0, 1)),
    ]
    keys = [str(item.identity()) for item in (base, *others)]
    assert len(set(keys)) == len(keys)
