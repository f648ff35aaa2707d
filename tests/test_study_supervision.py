"""Examples of the target language in a study: a curve over their number, apart from transfer."""

import pandas as pd
import pytest
import yaml

from langneurons import Study
from langneurons.artifacts import read_json, read_table
from langneurons.config import loading
from langneurons.errors import InputError
from langneurons.evaluation import Scores, compare
from study_world import build

ADAPTERS = {
    "none": {},
    "hi": {"neurons": "lape:hi"},
    "none+3": {"shots": {"hi": 3}},
    "hi+3": {"neurons": "lape:hi", "shots": {"hi": 3}},
    "es+2": {"shots": {"es": 2, "hi": 1}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = build(tmp_path_factory.mktemp("world"))
    study = yaml.safe_load((root / "tasks.yaml").read_text(encoding="utf-8"))
    study |= {"adapters": ADAPTERS, "interventions": None, "perplexity": None}
    study["tasks"]["xnli"] |= {"languages": ["en", "hi"]}
    (root / "shots.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    Study.from_yaml(root / "shots.yaml").run(root / "out")
    return root / "out"


def test_the_examples_are_added_to_those_of_the_training_language(run):
    counts = {
        name: read_json(run / "adapters" / "xnli" / name / "langneurons.json")["recipe"]["shots"]
        for name in ADAPTERS
    }
    assert counts == {name: spec.get("shots", {}) for name, spec in ADAPTERS.items()}


def test_the_curve_by_definition(run):
    """Each choice of units with and without examples of Hindi, against no units on the same."""
    table = read_table(run / "tables" / "supervision.parquet")
    assert set(table["language"]) == {"hi"}
    assert sorted(zip(table["units"], table["shots"], strict=True)) == [
        ("lape:hi", 0), ("lape:hi", 3), ("none", 0), ("none", 3),
    ]  # fmt: skip
    files = {
        ("none", 0): "none",
        ("none", 3): "none+3",
        ("lape:hi", 0): "hi",
        ("lape:hi", 3): "hi+3",
    }
    scored = {
        key: Scores.load(run / "scores" / "xnli" / name / "hi" / "none.parquet")
        for key, name in files.items()
    }
    for row in table.to_dict("records"):
        own = scored[row["units"], row["shots"]]
        assert row["value"] == pytest.approx(own.value("accuracy"))
        if row["units"] == "none":
            assert pd.isna(row["difference"])
        else:
            change = compare(own, scored["none", row["shots"]], metric="accuracy")
            assert row["difference"] == pytest.approx(change.difference)
            assert row["mde"] == pytest.approx(change.minimum_detectable_effect)


def test_scores_with_examples_of_the_language_are_no_transfer_scores(run):
    for name in ("scores", "adapters"):
        table = read_table(run / "tables" / f"{name}.parquet")
        assert set(table["adapter"]) <= {"none", "hi"}
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "Supervision in the target language" in page
    assert (run / "report" / "figures" / "supervision_xnli_accuracy_hi.svg").is_file()


def test_a_language_the_task_lacks_is_refused_before_anything_runs(tmp_path):
    root = build(tmp_path)
    change = ["adapters.none.shots.xx=3"]
    with pytest.raises(InputError, match=r"unknown language of task xnli 'xx' in 'adapters.none"):
        Study(loading.load(root / "tasks.yaml", change)).check()
