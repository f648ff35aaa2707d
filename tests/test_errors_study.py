"""What studies and the parts beyond neurons refuse, each by one line naming the user's value."""

import dataclasses
import re

import numpy as np
import pytest
import torch

import tiny
from finetuning_world import Answers
from langneurons.config import checks, inputs, loading
from langneurons.config.schema import RaySpec, parse
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.evaluation.crossing import statistic
from langneurons.evaluation.examples import labels_of
from langneurons.evaluation.information import separation
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.intervening import FeatureChange, features_changed
from langneurons.features.language import feature_statistics
from langneurons.features.training import Learner, Recipe, _step
from langneurons.identification import NeuronSet, Units
from langneurons.interface.workshop import Workshop
from langneurons.intervention import Value
from langneurons.models.layers import chosen_layers
from langneurons.stages import cluster
from langneurons.stages.stage import Plan
from langneurons.statistics import Statistics
from langneurons.study import Study, distributed
from reporting_run import write_run

BASE = {"languages": ["en", "hi"], "text": "mini"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": {"en": "en.txt"}}, "no text for hi: add --text hi=PATH"),
        ({"adapters": {"a": {"neurons": "lpae:hi"}}}, "unknown neuron set 'lpae' in adapter 'a'"),
        (
            {"neurons": {"x": {"exclusive": True}}},
            r"neurons\.x: exclusive and without_top need `derive: SET`",
        ),
        ({"neurons": {"x": {"derive": "y"}}}, r"unknown neuron set 'y' in 'neurons\.x'"),
        (
            {"neurons": {"x": {"derive": "lape", "site": "mlp.pre"}, "lape": {}}},
            r"neurons\.x: a derived set has the site of its source",
        ),
        (
            {"neurons": {"x": {"derive": "y"}, "y": {"derive": "lape"}, "lape": {}}},
            r"neurons\.x: derive from a set that a method found",
        ),
        (
            {"neurons": {"x": {"derive": "lape", "without_top": 1}, "lape": {}}},
            r"neurons\.x: without_top needs lape in `effects`",
        ),
    ],
)
def test_a_study_that_does_not_fit_together(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        parse({"perplexity": None, **BASE, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", r"study\.yaml' must hold keys and values"),
        ("series: [1, 2]\n", "series must be a mapping of names to changed keys"),
        (
            "seed: 1\nperplexity:\n  tokens: 5\n  tokens: 6\n",
            r"study\.yaml', line 4: found duplicate key tokens; mend it",
        ),
        ("name: ${a\n", r"study\.yaml' cannot be read"),
    ],
)
def test_a_study_file_of_another_form(tmp_path, content, message):
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        loading.load_series(tmp_path / "study.yaml")


DRY = {
    "dtype=fp16": r"dtype: must be 'auto', 'float32', 'bfloat16' or 'float16'",
    "device=gpu": r"device: no device is called 'gpu': use auto, balanced, cpu",
    "train_language=de": r"unknown language of task mini-nli 'de' in 'train_language'",
    "tasks.mini-nli.split=tset": r"unknown split of mini-nli 'tset'",
    "tasks.mini-nli.split=test[": r"split 'test\[' cannot be read",
    "tasks.mini-nli.train_split=trian": r"unknown split of mini-nli 'trian'",
    "neurons.lape.languages=[en]": r"neurons\.lape: method 'lape' compares at least 2 languages",
    "model=./nowhere": r"no model './nowhere': no such folder or file",
    "model={here}/models": r"the folder '.*models' holds no config.json",
    "model={here}/file.txt": r"file.txt' is a file: give a model folder",
}


@pytest.mark.parametrize("change", DRY)
def test_a_dry_run_refuses_in_one_line_what_would_fail(change, tmp_path, monkeypatch, capsys):
    from langneurons.cli.app import main

    (tmp_path / "models").mkdir()
    (tmp_path / "file.txt").write_text("x")
    words = ["run", "mini", "--dry-run", "-o", str(tmp_path / "out")]
    words += ["-s", change.replace("{here}", str(tmp_path)), "-s", "statistics.tokens=300"]
    monkeypatch.setattr("sys.argv", ["langneurons", *words])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert left.value.code == 2
    assert re.search(DRY[change], said.err), said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_and_a_device_that_is_not_here(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match=r"file' is a file: give a folder"):
            checks.check_place(place)
    with pytest.raises(InputError, match=r"device: there is no 'cuda:99' here"):
        checks.check_machine(parse({**BASE, "device": "cuda:99"}))


def test_blocks_longer_than_the_positions_are_refused(tmp_path):
    lm = tiny.lm("gpt2")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    most = lm.model.config.n_positions
    fits = parse({**BASE, "model": str(tmp_path), "statistics": {"block": most}})
    checks.check_model(fits)
    long = parse({**BASE, "model": str(tmp_path), "statistics": {"block": most + 1}})
    with pytest.raises(InputError, match=rf"statistics.block: {most + 1} tokens, but the model"):
        checks.check_model(long)


def test_a_name_like_a_path_is_never_looked_up_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("models/gemma", "./gemma", "~/gemma", "/a/gemma", "a/b/c"):
        with pytest.raises(InputError, match="no model"):
            inputs.model_repository(name)
        with pytest.raises(InputError, match="no model"):
            inputs.model_identity(name, None)
    assert inputs.model_repository("google/gemma") == "google/gemma"


def test_an_executor_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match=r"unknown executor 'raay'. Did you mean 'ray'"):
        Study(parse(BASE)).run(tmp_path / "out", executor="raay")
    assert not (tmp_path / "out").exists()


def test_a_language_the_built_in_world_lacks():
    with pytest.raises(InputError, match="the built-in world has no language 'xx'"):
        inputs.read(parse({"languages": ["en", "xx"], "text": "mini"}), "xx")


def test_a_set_without_units_for_a_language(tmp_path):
    found = NeuronSet({"en": Units([0], [1]), "hi": Units([], [])}, (2, 6))
    found.save(tmp_path / "neurons" / "lape.json")
    workshop = Workshop(parse(BASE), tmp_path, {})
    assert len(workshop.units("lape", "en", "own", 0)) == 1
    with pytest.raises(InputError, match=r"neuron set 'lape' has no unit for hi: raise its share"):
        workshop.units("lape", "hi", "own", 0)


def test_a_run_without_a_figure(tmp_path):
    from langneurons.study.notebook import plot

    write_run(tmp_path, {})
    with pytest.raises(InputError, match=r"has no figure: run more of the study"):
        plot(tmp_path, None)


def test_a_cluster_that_is_not_there_and_a_machine_that_does_not_see_the_folder(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="cannot reach the Ray cluster 'nowhere'"):
        cluster.connect(RaySpec(address="nowhere"))
    place = distributed._Place("", "out", str(tmp_path / "gone"), 1, {}, False, Plan(()), None, {})
    with pytest.raises(InputError, match="a machine of the cluster does not see"):
        distributed.Worker(place)


def test_layers_and_values_that_do_not_exist():
    assert chosen_layers(None, 4) == [0, 2]
    with pytest.raises(InputError, match="no layer 9: the model has layers 0 to 3"):
        chosen_layers([1, 9], 4)
    stats = Statistics.from_counts({"en": torch.ones(1, 2, dtype=torch.int64)}, tokens={"en": 3})
    with pytest.raises(InputError, match="'median' is no statistic: give mean or a percentile"):
        statistic(stats, "en", "median")
    with pytest.raises(InputError, match="must be a fixed number here"):
        Value.unit(0, 1).resolve((2, 3))


def test_information_needs_classes():
    with pytest.raises(InputError, match="examples of at least two classes"):
        separation(torch.ones(4, 2), np.zeros(4, dtype=np.int64))
    task = Answers()
    with pytest.raises(InputError, match="echo has no class label for every example"):
        labels_of(task, task.examples("en")[:3])


def coder(features=5):
    zero = torch.zeros
    return Autoencoder("topk", zero(tiny.UNITS, features), zero(features),
                       zero(features, tiny.UNITS), zero(tiny.UNITS), k=2)  # fmt: skip


def test_features_that_do_not_fit(tmp_path):
    lm = tiny.lm()
    with pytest.raises(InputError, match=r"unknown mode 'sett'. Did you mean 'set'"):
        FeatureChange(torch.tensor([0]), torch.tensor(0.0), mode="sett")
    change = FeatureChange(torch.tensor([0]), torch.tensor(0.0))
    with (
        pytest.raises(InputError, match="no features for layer 1: train or load some"),
        features_changed(lm, "mlp.act", {0: coder()}, {1: change}),
    ):
        pass
    with pytest.raises(InputError, match="need autoencoders of one size"):
        feature_statistics(lm, {}, "mlp.act", {0: coder(), 1: coder(6)})
    damaged = dataclasses.replace(coder(), w_dec=torch.zeros(6, tiny.UNITS))
    damaged.save(tmp_path / "sae")
    with pytest.raises(ArtifactError, match="encoder and decoder do not fit: fetch it again"):
        Autoencoder.load(tmp_path / "sae")


def test_a_recipe_of_features_and_a_training_that_diverges():
    with pytest.raises(InputError, match="kind of features 'relu' is none of topk, jumprelu"):
        Recipe(kind="relu")
    with pytest.raises(InputError, match="batch must be at least 1, not 0"):
        Recipe(batch=0)
    learner = Learner(4, Recipe(features=3, k=1), torch.zeros(4), 1.0)
    optimiser = torch.optim.Adam(learner.parameters())
    with pytest.raises(RunError, match="loss of the features is not a number: lower"):
        _step(learner, optimiser, torch.full((2, 4), float("nan")), 1e-3)
