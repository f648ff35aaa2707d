"""A study of a model as it is: nothing is trained, everything else goes on as after a training."""

import pandas as pd
import pytest
import yaml

import study_world
from langneurons import Study, evaluate, load
from langneurons.data.tasks import get_task
from langneurons.errors import InputError
from langneurons.evaluation import Scores, compare
from langneurons.parts.interventions.tables import right_site


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = study_world.build(tmp_path_factory.mktemp("base"))
    config = yaml.safe_load((root / "tasks.yaml").read_text(encoding="utf-8"))
    config["adapters"] = {"base": {"neurons": "base"}}
    config["interventions"] |= {"adapter": "base", "languages": ["en", "hi"],
                                "values": ["zero", "P90", "P90@mlp.pre"]}  # fmt: skip
    config["neurons"] = {"ap": {"method": "average_precision", "parameters": {"top": 0.1}}}
    config["interventions"]["neurons"] = ["ap"]
    config["perplexity"] = {"neurons": ["ap"]}
    (root / "base.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return root


def test_the_model_as_it_is_is_scored_overwritten_and_reported(world, tmp_path):
    result = Study.from_yaml(world / "base.yaml", ["threads=1"]).run(tmp_path / "run")
    assert result.failed == []
    assert not (tmp_path / "run" / "adapters").exists()
    scores = pd.read_parquet(tmp_path / "run" / "tables" / "scores.parquet")
    assert set(scores["adapter"]) == {"base"}
    assert set(scores["intervention"]) == {"none", "zero", "P90", "P90@mlp.pre"}
    task = get_task(f"xnli:{world / 'xnli'}")
    plain = evaluate(load(str(world / "model")), task, "hi", split="test")
    row = scores[(scores["language"] == "hi") & (scores["intervention"] == "none")].iloc[0]
    assert row["value"] == pytest.approx(plain.value())
    folder = tmp_path / "run" / "scores" / "xnli" / "base" / "hi"
    crossed = pd.read_parquet(tmp_path / "run" / "tables" / "crossed_scores.parquet")
    cell = crossed.query("language == 'hi' and units == 'own'").iloc[0]
    pair = [Scores.load(folder / f"P90{site}-own-ap.parquet") for site in ("@mlp.pre", "")]
    wanted = compare(*pair)
    assert (cell["difference"], cell["low"], cell["high"]) == pytest.approx(
        (wanted.difference, *wanted.interval)
    )
    assert set(crossed["units"]) == {"own", "random"}
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Scores without intervention" in page
    # English is no language trained on here: what overwriting does to it is told.
    shown = pd.read_csv(next((tmp_path / "run" / "report" / "tables").glob("interventions_*.csv")))
    assert set(shown["language"]) == {"en", "hi"}


@pytest.mark.parametrize(
    "change",
    [
        "adapters.base.seeds=2",
        "adapters.base.shots={hi: 4}",
        "adapters.base.hold={neurons: 'ap:hi'}",
    ],
)
def test_what_only_a_training_has_is_refused(world, change):
    with pytest.raises(
        InputError, match="base trains nothing, take hold, shots, seeds and seed out"
    ):
        Study.from_yaml(world / "base.yaml", [change])


@pytest.mark.parametrize(
    ("value", "right"),
    [("P10@mlp.pre", "P10"), ("mean@en@mlp.pre@mlp.act@last", "mean@en@last"), ("P10", None),
     ("P10@mlp.pre@mlp.pre", None), ("P10@mlp.act@mlp.pre", None), ("zero@last", None)],
)  # fmt: skip
def test_the_right_site_of_a_crossed_value(value, right):
    assert right_site(value) == right
