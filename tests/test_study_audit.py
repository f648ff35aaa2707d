"""The audit: statistics of one site written at another, in a study of tasks."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import tiny
from langneurons.config.schema import parse
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.evaluation import Scores, perplexity
from langneurons.evaluation.crossing import cross
from langneurons.identification import NeuronSet, Units
from langneurons.interface.spec import check_written
from langneurons.interface.workshop import Workshop
from langneurons.intervention import Intervention, OutOfRangeWarning, Value, intervene
from langneurons.intervention.words import Written
from langneurons.intervention.words import parse as parse_value
from langneurons.parts.adapters.run import chosen_units
from langneurons.parts.adapters.stages import examples_seen
from langneurons.parts.adapters.tables import Cell, adapter_sets, odd_rows
from langneurons.statistics import collect
from langneurons.study import Study
from langneurons.study.plan import Identity, plan

TEXT = {"en": ["the cat and the dog " * 6] * 4, "hi": ["हिन्दी और " * 9] * 4}


SITES = ["P10@mlp.pre", "mean@mlp.pre", "P10@mlp.pre@mlp.pre", "P10@mlp.act@mlp.pre"]
SITES += ["mean@last", "zero@rest", "x0.5@last", "mean@padding", "P10@text", "P10@en"]
SITES += ["P10@en@mlp.pre@mlp.act@rest"]


@pytest.mark.parametrize("value", [*SITES, "P10", "zero", "-1"])
def test_statistics_may_be_of_the_site_before(value):
    assert check_written(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "zero@mlp.pre",
        "1@mlp.pre",
        "P10@mlp.out",
        "P101@mlp.pre",
        "P10@mlp.pre@resid",
        "P10@mlp.pre@",
        "P10@en@es",
        "P10@last@en",
        "zero@en",
        "P10@xx",
    ],
)
def test_nothing_else_may(value):
    if value not in ("P10@mlp.out", "P10@xx"):  # these might be languages
        with pytest.raises(ValueError, match=r"value|statistic"):
            check_written(value)
    study = {"languages": ["en", "hi"], "interventions": {"values": [value]}}
    with pytest.raises(InputError, match=r"interventions\.values|unknown language"):
        parse(study)


def test_a_crossed_value_is_the_statistic_before_written_behind(tmp_path):
    lm = tiny.lm("llama")
    shape = (lm.layers, lm.sites["mlp.act"].width)
    neurons = NeuronSet({"en": Units([0, 1], [2, 3]), "hi": Units([0], [1])}, shape)
    for site, folder in (("mlp.act", "statistics"), ("mlp.pre", "statistics/mlp.pre")):
        collect(lm, TEXT, site=site, block=16, rows=64, output=tmp_path / folder)
    config = parse({"languages": ["en", "hi"], "interventions": None})
    workshop = Workshop(config, tmp_path, {})
    plain = workshop.value("P10", "hi", "mlp.act")
    crossed = workshop.value("P10@mlp.pre", "hi", "mlp.act")
    before = workshop.statistics("mlp.pre").quantile("hi", 0.1)
    assert crossed.site == plain.site == "mlp.act"
    assert crossed.tensor is not None
    assert crossed.tensor.equal(before)
    assert not crossed.tensor.equal(plain.tensor)
    assert float(crossed.tensor.min()) < -0.2785  # SiLU never gives that
    with (
        pytest.warns(OutOfRangeWarning),
        intervene(lm, Intervention(neurons["hi"], crossed)),
    ):
        pass


def test_a_value_may_be_written_before_the_activation_function(tmp_path):
    lm = tiny.lm("llama")
    for site, folder in (("mlp.act", "statistics"), ("mlp.pre", "statistics/mlp.pre")):
        collect(lm, TEXT, site=site, block=16, rows=64, output=tmp_path / folder)
    config = parse({"languages": ["en", "hi"], "interventions": None})
    workshop = Workshop(config, tmp_path, {})
    ids = torch.tensor([lm.tokenizer("the cat and the dog")["input_ids"]])
    units = Units([0, 1], [2, 3])

    def logits(name: str, site: str) -> torch.Tensor:
        value = workshop.value(name, "hi", "mlp.act")
        assert value.site == site
        with (
            torch.no_grad(),
            warnings.catch_warnings(),
            intervene(lm, Intervention(units, value, site=site)),
        ):
            warnings.simplefilter("ignore", OutOfRangeWarning)
            return lm.model(ids).logits

    before = workshop.statistics("mlp.pre").quantile("hi", 0.1)
    crossed = workshop.value("P10@mlp.pre", "hi", "mlp.act")
    silu = torch.nn.functional.silu(before)
    with torch.no_grad(), intervene(lm, Intervention(units, replace(crossed, tensor=silu))):
        through = lm.model(ids).logits
    assert torch.allclose(logits("P10@mlp.pre@mlp.pre", "mlp.pre"), through, atol=1e-5)
    assert not torch.allclose(logits("P10@mlp.pre", "mlp.act"), through, atol=1e-5)
    assert not torch.allclose(logits("P10@mlp.act@mlp.pre", "mlp.pre"), through, atol=1e-5)
    with pytest.raises(InputError, match=r"needs MLP units, heads is of attn\.head"):
        parse(
            {
                "languages": ["en"],
                "neurons": {"heads": {"site": "attn.head"}},
                "interventions": {"neurons": ["heads"], "values": ["P10@mlp.pre"]},
            }
        )


def test_adapters_may_train_units_of_the_same_activity_from_a_seed_of_their_own(tmp_path):
    lm = tiny.lm("llama")
    shape = (lm.layers, lm.sites["mlp.act"].width)
    collect(lm, TEXT, site="mlp.act", block=16, rows=64, output=tmp_path / "statistics")
    (tmp_path / "neurons").mkdir()
    NeuronSet({"en": Units([0], [2]), "hi": Units([0, 1], [1, 4])}, shape, site="mlp.act").save(
        tmp_path / "neurons" / "lape.json"
    )
    study = {
        "languages": ["en", "hi"],
        "tasks": {"mini-nli": {"source": "mini-nli"}},
        "interventions": None,
        "adapters": {
            "own": {"neurons": "lape:hi"},
            "matched:hi": {"neurons": ["lape:en", "matched:lape:hi"], "seeds": 2},
            "again": {"neurons": "lape:hi", "seed": 7},
        },
    }
    config = parse(study)
    texts = dict.fromkeys(config.languages, "t")
    laid = plan(config, Identity("model", texts, texts, dict.fromkeys(config.tasks, "x")))
    stages = {stage.name: stage for stage in laid.stages}
    assert "statistics/hi" in stages["finetune/mini-nli/matched-hi.1"].parents
    assert stages["finetune/mini-nli/own"].parents == ("neurons/lape",)
    assert stages["finetune/mini-nli/again"].settings["adapter"]["seed"] == 7
    assert "seed" not in stages["finetune/mini-nli/own"].settings["adapter"]
    workshop = Workshop(config, tmp_path, {})
    drawn = workshop.neurons("lape").random_like(
        1, matched="rate", statistics=workshop.statistics()
    )["hi"]
    chosen = chosen_units(workshop, ["matched:lape:hi"], seed=1)
    assert set(chosen) == set(drawn)
    assert set(chosen_units(workshop, ["lape:en", "matched:lape:hi"], 1)) == set(drawn) | {(0, 2)}
    for alone in ("all", "none"):
        several = {**study, "adapters": {"x": {"neurons": [alone, "random:lape:hi"]}}}
        with pytest.raises(InputError, match=f"adapters.x: {alone} stands alone"):
            parse(several)
    one = {"neurons": "lape:hi"}
    for double in ({"x:y": one, "x-y": one}, {"a": {**one, "seeds": 2}, "a.0": one}):
        with pytest.raises(InputError, match=r"would both be kept in .*: rename"):
            parse({**study, "adapters": double})
    wrong = {**study, "adapters": {"x": {"neurons": "matched:lappe:hi"}}}
    with pytest.raises(InputError, match="'lappe'"):
        parse(wrong)


def test_adapters_of_several_seeds_are_compared_at_once_with_attention_and_without(tmp_path):
    chosen = {"neurons": "lape:hi", "seeds": 2}
    adapters = {
        **{"a": chosen, "b": {**chosen, "neurons": "random:lape:hi"}, "other": chosen},
        **{"once": {"neurons": "lape:hi"}, "alone": {**chosen, "attention": False}},
        **{"none": {"neurons": "none", "seeds": 2}, "all": {"neurons": "all", "seeds": 2}},
    }
    config = parse({"languages": ["en", "hi"], "neurons": {"lape": {}}, "adapters": adapters,
                    "tasks": {"xnli": {"source": "xnli"}}})  # fmt: skip
    rows = [("a", 0, 50.0), ("a", 1, 54.0), ("b", 0, 60.0), ("b", 1, 61.0), ("once", 0, 90.0),
            ("alone", 0, 20.0), ("alone", 1, 20.0), ("none", 0, 9.0), ("none", 1, 9.0),
            ("all", 0, 99.0), ("all", 1, 99.0), ("other", 0, 0.0), ("other", 2, 0.0)]  # fmt: skip
    scored = pd.DataFrame(rows, columns=["adapter", "seed", "value"])
    cell = {"task": "xnli", "language": "en", "metric": "accuracy"}
    trained = config.adapters
    touched = scored.assign(value=0.0, intervention="zero", **cell)
    whole = pd.concat([scored.assign(intervention="none", **cell), touched])
    (row,) = adapter_sets(trained, whole).to_dict("records")
    assert row["attention"]
    assert (row["sets"], row["seeds"], row["df"]) == (2, 2, 1)
    assert row["f"] == pytest.approx((8.5 / (np.std([10, 7], ddof=1) / 2**0.5)) ** 2)
    both = pd.concat([whole, whole.assign(language="hi")])
    twice = adapter_sets(trained, both)
    assert twice["p_holm"].tolist() == pytest.approx([2 * row["p_value"]] * 2)
    assert adapter_sets(trained, whole[whole["seed"] == 0]).empty
    assert adapter_sets(trained, pd.DataFrame()).empty


@pytest.mark.parametrize(
    ("settings", "seen"),
    [({"epochs": 2}, 600), ({"steps": 5, "batch_size": 4, "accumulation": 2}, 40),
     ({"recipe": "paper-xnli"}, 300)],
)  # fmt: skip
def test_the_expected_cost_counts_the_examples_that_pass(settings, seen):
    assert examples_seen(300, settings) == seen


def test_the_audit_collects_both_sites_and_trains_both_heads():
    plan = Study.from_yaml("audit", ["budget=small"]).plan()
    names = {stage.name: stage for stage in plan.stages}
    assert {"statistics/hi", "statistics/mlp.pre/hi"} <= names.keys()
    cell = names["scores/mini-nli/none/hi/P10@mlp.pre-own-lape"]
    assert "statistics/mlp.pre/hi" in cell.parents
    assert "statistics/mlp.pre/hi" not in names["scores/mini-nli/none/hi/P10-own-lape"].parents
    heads = {
        name: names[f"finetune/{name}/none"].settings["finetune"].get("head")
        for name in ("mini-nli", "mini-nli-last-position")
    }
    assert heads == {"mini-nli": None, "mini-nli-last-position": "last-position"}


def test_quantiles_averaged_over_batches_are_a_reading_of_their_own():
    lm = tiny.lm("llama")
    shape = (lm.layers, lm.sites["mlp.act"].width)
    neurons = NeuronSet({"en": Units([0, 1], [2, 3]), "hi": Units([0], [1])}, shape)
    stats, before = (collect(lm, TEXT, site=site, block=16, rows=64)
                     for site in ("mlp.act", "mlp.pre"))  # fmt: skip
    batched = collect(lm, TEXT, site="mlp.act", block=16, rows=0, quantiles="batch-mean")
    blocks = make_blocks(TEXT["hi"], lm.tokenizer, block=16)
    table = cross(
        lm, neurons, "hi", blocks, ["P10"], stats, before, random=1, matched=1, batched=batched
    )
    assert set(table["kind"]) == {"own", "random", "matched"}
    assert len(table) == 3 * 5
    assert table["beyond"].notna().sum() == 3
    assert table.loc[table["beyond"].notna(), "reading"].eq("paper").all()
    own = table[table["kind"] == "own"].set_index("reading")["ratio"]
    direct = perplexity(
        lm, blocks, intervention=Intervention(neurons["hi"], Value.quantile(batched, "hi", 0.1))
    )
    assert own["batches"] == pytest.approx(direct.value / perplexity(lm, blocks).value)


def test_odd_examples_are_counted_once_a_task_and_language():
    rows = pd.DataFrame(
        {
            "id": list("abcd"),
            "group": list("aabb"),
            "correct": [1.0, 0.0, float("nan"), 1.0],
            "romanised": [True, False, True, False],
            "replaced": [False, False, False, True],
            "cut": [0, 0, 7, 2],
        }
    )
    plain = rows.assign(correct=1.0, romanised=False, replaced=False, cut=0)
    found = {
        Cell("xnli", "all", "hi", "zero", "own", "lape"): Scores("xnli", "hi", ("accuracy",), rows),
        Cell("xnli", "all", "hi"): Scores("xnli", "hi", ("accuracy",), rows),
        Cell("xnli", "none", "hi"): Scores("xnli", "hi", ("accuracy",), rows),
        Cell("xnli", "all", "es"): Scores("xnli", "es", ("accuracy",), plain),
    }
    assert odd_rows(found).to_dict("records") == [
        {
            **{"task": "xnli", "language": "hi", "n": 4, "no_gold": 1, "romanised": 2},
            **{"replaced": 1, "english": 0, "cut": 2},
        }
    ]
    assert odd_rows({}).empty


def test_a_value_names_its_language_its_sites_and_its_tokens(tmp_path):
    assert parse_value("P10") == Written("P10")
    assert parse_value("-1@rest") == Written("-1", scope="rest")
    whole = parse_value("P10@en@mlp.pre@mlp.act@last")
    assert whole == Written("P10", "en", "mlp.pre", "mlp.act", "last")
    assert parse_value("mean@en@last") == Written("mean", "en", scope="last")
    lm = tiny.lm("llama")
    collect(lm, TEXT, site="mlp.act", block=16, rows=64, output=tmp_path / "statistics")
    config = parse({"languages": ["en", "hi"], "interventions": None})
    workshop = Workshop(config, tmp_path, {})
    english = workshop.value("P10@en@last", "hi", "mlp.act")
    assert english.tensor.equal(workshop.value("P10", "en", "mlp.act").tensor)
    assert not english.tensor.equal(workshop.value("P10", "hi", "mlp.act").tensor)
    assert english.name == "P10@en@last"
    half = workshop.change("x0.5@last", "hi", "mlp.act")
    assert (float(half["value"].tensor), half["mode"]) == (0.5, "multiply")
