"""What studies and the parts beyond neurons refuse, each by one line naming the user's value."""

import dataclasses

import numpy as np
import pytest
import torch

import tiny
from finetuning_world import Answers
from langneurons.beyond.crossing import statistic
from langneurons.beyond.examples import labels_of
from langneurons.beyond.features.autoencoder import Autoencoder
from langneurons.beyond.features.intervening import FeatureChange, features_changed
from langneurons.beyond.features.language import feature_statistics
from langneurons.beyond.features.training import Learner, Recipe, _step
from langneurons.beyond.information import separation
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.identification import NeuronSet, Units
from langneurons.intervention import Value
from langneurons.statistics import Statistics
from langneurons.study import Study, distributed, inputs, loading
from langneurons.study.beyond.stages import _layers
from langneurons.study.parts import RaySpec
from langneurons.study.schema import parse
from langneurons.study.workshop import Workshop
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
    ],
)
def test_a_study_file_of_another_form(tmp_path, content, message):
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        loading.load_series(tmp_path / "study.yaml")


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
        distributed._connect(RaySpec(address="nowhere"))
    place = distributed._Place("", "out", str(tmp_path / "gone"), 1, {}, False)
    with pytest.raises(InputError, match="a machine of the cluster does not see"):
        distributed.Worker(place)


def test_layers_and_values_that_do_not_exist():
    assert _layers(None, 4) == [0, 2]
    with pytest.raises(InputError, match="no layer 9: the model has layers 0 to 3"):
        _layers([1, 9], 4)
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
