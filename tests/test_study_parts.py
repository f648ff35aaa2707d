"""A study with every part beyond neurons, on a tiny model with real files."""

import shutil

import pandas as pd
import pytest
import yaml

from langneurons import Study
from langneurons.errors import InputError
from langneurons.features.autoencoder import Autoencoder
from study_world import files


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("beyond")
    config = {
        "name": "beyond",
        **files(root, max_position_embeddings=512),
        "statistics": {"tokens": 600, "block": 32, "rows": 200},
        "neurons": {"ap": {"method": "average_precision", "parameters": {"top": 0.1}}},
        "perplexity": {"neurons": ["ap"], "tokens": 300, "random": 1, "matched": 0},
        "tasks": {"mini-nli": {"limit": 6}},
        "deactivation": {"languages": ["hi"], "neurons": "ap", "values": ["zero", "x2", "P10"],
                         "random": 1, "matched": 1, "residual_blocks": 2},
        "crossing": {"neurons": ["ap"], "languages": ["hi"], "values": ["P10"], "random": 1},
        "polysemanticity": {"neurons": "ap", "languages": ["hi"], "task": "mini-nli",
                            "examples": 12, "tested": 2, "harm_units": 2, "matched": 1},
        "subspaces": {
            "stream": {"kinds": ["mean"], "layers": [0], "random": 1, "rows": 80,
                       "moves": [["hi", "en"]], "task": "mini-nli", "task_languages": ["hi"],
                       "examples": 2},
            "mlp": {"site": "mlp.act", "kinds": ["leace"], "neurons": "ap", "random": 1,
                    "layers": [1], "rows": 80},
        },
        "features": {"topk": {"layers": [1], "features": 48, "k": 4, "tokens": 4000, "batch": 64,
                              "parameters": {"top": 0.2}, "random": 1, "matched": 1}},
    }  # fmt: skip
    (root / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return root


@pytest.mark.slow
def test_every_part_runs_is_kept_and_reported(study):
    result = Study.from_yaml(study / "study.yaml").run(study / "run")
    assert result.failed == []
    tables = {path.stem for path in (study / "run" / "tables").glob("*.parquet")}
    assert {
        "deactivation", "residual", "crossing", "polysemanticity", "polysemanticity_units",
        "polysemanticity_harm", "subspaces", "subspaces_cost", "subspaces_moves", "features",
        "feature_languages", "feature_perplexity",
    } <= tables  # fmt: skip
    page = (study / "run" / "report" / "index.html").read_text(encoding="utf-8")
    for title in ("True deactivation", "The site question", "Polysemanticity", "Linear subspaces",
                  "Sparse features"):  # fmt: skip
        assert title in page
    again = Study.from_yaml(study / "study.yaml").run(study / "run")
    assert {outcome.status for outcome in again.outcomes} == {"kept"}
    # A trained autoencoder is loaded as a published one would be.
    shutil.copytree(study / "run" / "features" / "topk", study / "published")
    path = str(study / "published" / "{layer}")
    assert Autoencoder.load(path.format(layer=1)).features == 48
    other = Study.from_yaml(study / "study.yaml", [f"features.topk.path={path}"])
    result = other.run(study / "run")
    assert result.failed == []
    done = {outcome.name for outcome in result.outcomes if outcome.status == "done"}
    assert done == {"features/topk", "feature_languages/topk", "tables"}
    first = pd.read_parquet(study / "run" / "tables" / "features.parquet")
    assert first["explained"].notna().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("polysemanticity.task=xnli", "unknown task 'xnli' in 'polysemanticity'"),
        ("subspaces.mlp.site=resid", "subspaces.mlp: ap is of mlp.act, not of resid"),
        ("subspaces.stream.moves=[[hi,xx]]", "unknown language 'xx' in 'subspaces.stream'"),
        ("crossing.values=[zero]", "is no statistic"),
        ("features.topk.value=P10", "must be zero, a number, or x and a factor"),
        ("features.topk.method=auroc", "reads more than counts"),
        ("features.topk.site=residual", "unknown site 'residual'"),
        ("perplexity=null", "needs `perplexity`"),
    ],
)
def test_wrong_parts_are_refused_before_anything_runs(study, change, words):
    with pytest.raises(InputError) as caught:
        Study.from_yaml(study / "study.yaml", [change]).check()
    assert words in str(caught.value)


def test_parts_are_taken_away_by_null(study):
    config = Study.from_yaml(
        study / "study.yaml", ["features=null", "subspaces.mlp=null", "crossing=null"]
    ).config
    assert (config.features, list(config.subspaces), config.crossing) == ({}, ["stream"], None)
