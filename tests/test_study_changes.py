"""Other changes on the tasks as stages: each does what its name says, and stands beside none."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import study_world
from langneurons import Study, collect, evaluate, load
from langneurons.data import make_blocks
from langneurons.data.tasks import get_task
from langneurons.errors import InputError
from langneurons.evaluation import Scores, compare
from langneurons.evaluation.erasure import split
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.intervening import by_layer, features_changed
from langneurons.features.language import feature_statistics
from langneurons.identification import NeuronSet
from langneurons.identification.subspaces import as_large, fit, moved, random_subspace
from langneurons.intervention import Intervention, Value, intervene
from langneurons.intervention.erasing import erased
from langneurons.statistics import Statistics


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = study_world.build(tmp_path_factory.mktemp("changes"))
    config = yaml.safe_load((root / "tasks.yaml").read_text(encoding="utf-8"))
    del config["interventions"]
    config["neurons"] = {"ap": {"method": "average_precision", "parameters": {"top": 0.1}}}
    config["perplexity"] = {"neurons": ["ap"], "tokens": 300, "random": 1, "matched": 0}
    config["adapters"] = {"base": {"neurons": "base"}}
    config["features"] = {"topk": {"layers": [1], "features": 48, "k": 4, "tokens": 2000,
                                   "batch": 64, "parameters": {"top": 0.2}, "random": 1,
                                   "matched": 1}}  # fmt: skip
    common = {"adapter": "base", "random": 1, "matched": 1}
    config["changes"] = {
        "space": {"what": "subspace", **common, "random": 2, "rows": 60, "languages": ["en", "hi"]},
        "sparse": {"what": "features", "features": "topk", **common, "languages": ["hi"]},
        "batches": {"what": "percentiles", "neurons": "ap", "values": ["P90"], **common,
                    "languages": ["hi"]},
        "english": {"what": "neurons", "neurons": "ap", "values": ["mean"], "of": ["hi"],
                    **common, "languages": ["en"]},
    }  # fmt: skip
    (root / "changes.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    result = Study.from_yaml(root / "changes.yaml", ["threads=1"]).run(root / "run")
    assert result.failed == []
    return root


def row(root, **about):
    table = pd.read_parquet(root / "run" / "tables" / "task_changes.parquet")
    for key, value in {"metric": "accuracy", "seed": 0, **about}.items():
        table = table[table[key] == value]
    (found,) = table.to_dict("records")
    return found


def agrees(root, language, label, within, **about):
    """A cell is what the public functions give, and something changed; its row is the pair's."""
    lm = load(str(root / "model"))
    task = get_task(f"xnli:{root / 'xnli'}")
    plain = evaluate(lm, task, language, split="test")
    with within(lm):
        wanted = evaluate(lm, task, language, split="test")
    made = Scores.load(root / "run" / "scores" / "xnli" / "base" / language / f"{label}.parquet")
    given, again, before = (
        np.stack(scores.rows["log_likelihoods"]) for scores in (made, wanted, plain)
    )
    assert np.allclose(given, again, atol=1e-5)
    assert not np.allclose(given, before, atol=1e-5)
    found = row(root, language=language, **about)
    assert found["difference"] == pytest.approx(compare(wanted, plain).difference)
    changed = wanted.rows["prediction"] != plain.rows["prediction"]
    assert found["answers"] == changed.sum()


def test_a_subspace_is_fitted_on_the_text_and_erased_behind_the_middle_layer(finished):
    stats = Statistics.load(finished / "run" / "statistics" / "resid", ["en", "es", "hi"])
    layer = load(str(finished / "model")).layers // 2
    rows = split(stats, layer, 60).fitted
    found = fit(rows, "leace")
    mean = rows["en"].mean(0)
    changes = {
        ("erased", "own"): found,
        ("moved", "own"): found.towards(mean),
        ("erased", "random"): random_subspace(found, found.rank, 0),
        ("erased", "large"): as_large(found, rows["hi"], 0),
    }
    for (change, units), item in changes.items():
        label = f"space-{change}-{units}-all" + ("" if units == "own" else "-0")
        agrees(
            finished, "hi", label, lambda lm, item=item: erased(lm, "resid", {layer: item}),
            part="space", change=change, units=units,
        )  # fmt: skip
    other = random_subspace(found, found.rank, 1)
    agrees(
        finished, "hi", "space-erased-random-all-1", lambda lm: erased(lm, "resid", {layer: other}),
        part="space", change="erased", units="random", seed=1,
    )  # fmt: skip
    table = pd.read_parquet(finished / "run" / "tables" / "task_changes.parquet")
    home = table[(table["part"] == "space") & (table["language"] == "en")]
    assert set(home["change"]) == {"erased"}  # nothing to move to at home


def test_a_random_subspace_as_large_moves_as_far():
    generator = torch.Generator().manual_seed(1)
    rows = {
        lang: torch.randn(200, 24, generator=generator) + 3 * torch.eye(24)[place]
        for place, lang in enumerate(("en", "es", "hi"))
    }
    found = fit(rows, "leace")
    control = as_large(found, rows["hi"], 0)
    assert control.rank >= found.rank
    assert moved(control, rows["hi"]) >= moved(found, rows["hi"])
    fewer = random_subspace(found, control.rank - 1, 0)
    assert moved(fewer, rows["hi"]) < moved(found, rows["hi"])


def test_neurons_of_another_language_and_percentiles_over_batches(finished):
    run = finished / "run"
    stats = Statistics.load(run / "statistics", ["en", "es", "hi"])
    units = NeuronSet.load(run / "neurons" / "ap.json")["hi"]
    text = study_world.documents("hi")
    batches = Statistics.load(run / "batch_percentiles" / "mlp.act" / "hi")
    kept = [line for n, line in enumerate(text) if n % 5 != 4]
    lm = load(str(finished / "model"))
    again = collect(lm, {"hi": kept}, tokens=600, block=32, rows=0, quantiles="batch-mean")
    assert torch.equal(batches.quantile("hi", 0.9), again.quantile("hi", 0.9))
    values = {
        ("batches", "hi", "P90-exact"): Value.quantile(stats, "hi", 0.9),
        ("batches", "hi", "P90-averaged"): Value.quantile(batches, "hi", 0.9),
        ("english", "en", "mean"): Value.mean(stats, "hi"),
    }
    for (part, language, change), value in values.items():
        done = Intervention(units, value)
        agrees(
            finished, language, f"{part}-{change}-own-hi",
            lambda lm, done=done: intervene(lm, done),
            part=part, change=change, units="own", of="hi",
        )  # fmt: skip


def test_features_are_those_found_at_the_values_said(finished):
    run = finished / "run"
    folder = run / "feature_languages" / "topk"
    found = NeuronSet.load(folder / "features.json")["hi"]
    coders = {1: Autoencoder.load(run / "features" / "topk" / "1")}
    lm = load(str(finished / "model"))
    text = [line for n, line in enumerate(study_world.documents("hi")) if n % 5 != 4]
    blocks = make_blocks(text, lm.tokenizer, block=32, tokens=600)
    stats, means = feature_statistics(lm, {"hi": blocks}, "resid", coders)
    on = means["hi"] / stats.prob_positive("hi").clamp_min(1e-9)
    for change, value in {"off": 0.0, "mean": means["hi"], "mean-on": on}.items():
        changes = by_layer(found, [1], value)
        agrees(
            finished, "hi", f"sparse-{change}-own-hi",
            lambda lm, changes=changes: features_changed(lm, "resid", coders, changes),
            part="sparse", change=change, units="own",
        )  # fmt: skip


def test_features_and_the_page(finished):
    table = pd.read_parquet(finished / "run" / "tables" / "task_changes.parquet")
    part = table[(table["part"] == "sparse") & (table["metric"] == "accuracy")]
    assert set(zip(part["change"], part["units"], strict=True)) == {
        ("mean-on", "own"), ("off", "own"), ("off", "random"), ("off", "matched"),
        ("mean", "own"), ("mean", "random"), ("mean", "matched"),
    }  # fmt: skip
    page = (finished / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Other changes on the tasks" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("changes.sparse.features=none", "unknown part of `features` 'none' in 'changes.sparse'"),
        ("changes.sparse.features=null", "changes.sparse: features needs `features: NAME`"),
        ("changes.english.of=[xx]", "unknown language 'xx' in 'changes.english'"),
        (
            "changes.batches.values=[mean]",
            "changes.batches: percentiles are asked for, take values",
        ),
        ("changes.space.adapter=none", "unknown adapter 'none' in 'changes.space'"),
        ("changes.space.site=nowhere", "unknown site 'nowhere' in part 'space'"),
    ],
)
def test_what_does_not_fit_is_refused(finished, change, words, tmp_path):
    with pytest.raises(InputError, match="(?s)" + words.replace("`", ".").replace("(", r"\(")):
        Study.from_yaml(finished / "changes.yaml", [change]).run(tmp_path / "run")
