"""Sweeps over values, shares of units and layers, held against each measurement on its own."""

import pytest
import torch

import tiny
from finetuning_world import Answers
from langneurons.data import make_blocks
from langneurons.data.tasks import get_task
from langneurons.errors import InputError
from langneurons.evaluation import compare, evaluate, perplexity, perplexity_change
from langneurons.evaluation.sweep import TaskScore, band_points, resized, sweep
from langneurons.identification import NeuronSet, Units, identify
from langneurons.intervention import Intervention, Value
from langneurons.statistics import collect
from study_world import WORDS, documents

SETTINGS = {"top": 0.2, "filter": 0.5, "bar": 0.6}
VALUES = {"zero": (0.0, "set"), "-1": (-1.0, "set"), "x2": (2.0, "multiply")}


@pytest.fixture(scope="module")
def lm():
    return tiny.lm("llama", num_hidden_layers=5)


@pytest.fixture(scope="module")
def stats(lm):
    return collect(lm, {lang: documents(lang) for lang in WORDS}, block=32, tokens=800)


@pytest.fixture(scope="module")
def found(stats):
    return identify(stats, method="lape", **SETTINGS)


@pytest.fixture(scope="module")
def blocks(lm):
    return make_blocks(documents("hi")[20:], lm.tokenizer, block=32, tokens=300)


def test_each_point_is_what_is_measured_alone(lm, stats, found, blocks):
    table = sweep(
        lm, found, "hi", blocks, VALUES, at=["zero"], shares=[0.1, 0.4], bands=2,
        controls={"random": 2, "matched": 1}, stats=stats, seed=3,
    )  # fmt: skip
    points = table[["axis", "point", "value"]].drop_duplicates().values.tolist()
    assert points == [
        ["value", "zero", "zero"], ["value", "-1", "-1"], ["value", "x2", "x2"],
        ["share", "10 %", "zero"], ["share", "40 %", "zero"],
        ["layers", "0-1", "zero"], ["layers", "2-4", "zero"],
    ]  # fmt: skip
    assert len(table) == 7 * 4
    own = table[table["kind"] == "own"].set_index(["axis", "point"])
    plain = perplexity(lm, blocks).value
    sets = {
        ("value", "-1"): (found["hi"], -1.0, "set"),
        ("value", "x2"): (found["hi"], 2.0, "multiply"),
        ("layers", "2-4"): (found["hi"].in_layers([2, 3, 4]), 0.0, "set"),
    }
    for share in (0.1, 0.4):
        again = identify(stats, method="lape", **{**SETTINGS, "top": share})
        sets["share", f"{100 * share:g} %"] = (again["hi"], 0.0, "set")
    for place, (units, value, mode) in sets.items():
        touched = perplexity(lm, blocks, intervention=Intervention(units, value, mode)).value
        assert own.loc[place, "ratio"] == pytest.approx(touched / plain, rel=1e-6)
        assert own.loc[place, "units"] == len(units)
        assert own.loc[place, "share"] == f"{100 * len(units) / (5 * 48):.2g} %"
    few, many = own.loc[("share", "10 %"), "units"], own.loc[("share", "40 %"), "units"]
    assert few < own.loc[("value", "zero"), "units"] < many


def test_controls_of_a_band_lie_within_it_and_hold_no_own_unit(found):
    for point in band_points(found, "hi", 3):
        first, _, last = point.label.partition("-")
        band = range(int(first), int(last or first) + 1)
        drawn = point.neurons.random_like(0)["hi"]
        assert set(drawn.layers.tolist()) <= set(band)
        assert len(drawn) == len(point.neurons["hi"])
        assert len(drawn & found["hi"]) == 0
    labels = [point.label for point in band_points(found, "hi", 5)]
    assert labels == ["0", "1", "2", "3", "4"]
    assert sum(len(point.neurons["hi"]) for point in band_points(found, "hi", 5)) == len(
        found["hi"]
    )


def test_the_same_share_gives_the_same_set(found, stats):
    assert resized(found, stats, SETTINGS["top"]) == found
    moved = found.at("mlp.out")
    assert resized(moved, stats, 0.3).site == "mlp.out"
    # The smallest share is one unit, and languages without any are no error.
    assert sorted(map(len, resized(found, stats, 0.0001).values()))[0] == 0


@pytest.mark.parametrize("make", [lambda: get_task("mini-nli"), Answers])
def test_a_task_is_scored_at_every_point_under_the_same_units(lm, found, blocks, make):
    task = make()
    calls = []

    def score(done):
        calls.append(done)
        return evaluate(lm, task, "en", intervention=done, limit=8)

    table = sweep(
        lm, found, "hi", blocks, {"-1": VALUES["-1"]}, controls={"random": 2}, seed=1,
        task=TaskScore(score),
    )  # fmt: skip
    assert [done is None for done in calls] == [True, False, False, False]
    plain = evaluate(lm, task, "en", limit=8)
    sets = [found["hi"], *(found.select(["hi"]).random_like(seed)["hi"] for seed in (1, 2))]
    for row, units in zip(table.to_dict("records"), sets, strict=True):
        alone = evaluate(lm, task, "en", intervention=Intervention(units, -1.0), limit=8)
        metric = alone.metrics[-1]
        assert row["metric"] == metric == ("f1" if make is Answers else "accuracy")
        assert row["score"] == alone.value(metric)
        assert (row["score_low"], row["score_high"]) == alone.interval(metric)
        assert row["untouched"] == plain.value(metric)
        assert row["score_change"] == compare(alone, plain, metric=metric).difference


def test_no_units_change_nothing(lm, stats, found, blocks):
    lang = next(name for name, units in resized(found, stats, 0.0001).items() if not len(units))
    table = sweep(
        lm, found, lang, blocks, VALUES, at=["-1"], shares=[0.0001], stats=stats,
        controls={"random": 1}, task=TaskScore(lambda done: evaluate(lm, Answers(), "en", limit=4)),
    )  # fmt: skip
    (row,) = table[table["axis"] == "share"].to_dict("records")
    assert (row["units"], row["ratio"], row["score_change"]) == (0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": [0.1]}, "name the value written over shares and bands"),
        ({"shares": [0.1], "at": ["zero"]}, "finds the units anew in statistics"),
        ({"shares": [2.0], "at": ["zero"], "stats": True}, r"above 0 up to 1 \(0.01 is 1 %\)"),
        ({"bands": 6, "at": ["zero"]}, "cannot part 5 layers into 6 bands"),
        ({"bands": 2, "at": ["zro"]}, "unknown value 'zro'. Did you mean 'zero'"),
    ],
)
def test_what_cannot_be_swept_is_one_line(lm, stats, found, blocks, change, message):
    options = {**change, **({"stats": stats} if change.get("stats") else {})}
    with pytest.raises(InputError, match=message):
        sweep(lm, found, "hi", blocks, VALUES, **options)


def test_only_a_whole_set_of_a_method_can_be_found_anew(stats, found):
    with pytest.raises(InputError, match=r"was cut after it had been found \(exclusive\)"):
        resized(found.exclusive(), stats, 0.1)
    given = NeuronSet({"hi": Units([0], [1])}, found.shape)
    with pytest.raises(InputError, match="'given' cannot find another share"):
        resized(given, stats, 0.1)


def test_statistics_of_the_language_are_written_over_controls_too(lm, stats, found, blocks):
    high = Value.quantile(stats, "hi", 0.9)
    table = sweep(lm, found, "hi", blocks, {"P90": (high, "set")}, controls={"random": 1})
    alone = perplexity_change(
        lm, found.select(["hi"]), {"hi": blocks}, high, controls={"random": 1}
    ).table
    assert torch.equal(torch.tensor(table["ratio"]), torch.tensor(alone["ratio"]))
