"""Sweeps, forcing and fallback as parts of a study, from its file to the report."""

import pandas as pd
import pytest
import yaml

from langneurons import Study
from langneurons.errors import InputError
from study_world import build


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sweeps"))


def study(world, **parts):
    path = world / "sweeps.yaml"
    path.write_text(
        yaml.safe_dump({"include": "tasks.yaml", "interventions": None, **parts}), encoding="utf-8"
    )
    return Study.from_yaml(path)


SWEEP = {
    **{"neurons": "lape", "languages": ["hi"], "values": ["zero", "x2"], "random": 1},
    **{"matched": 0, "shares": [0.1, 0.5], "bands": 2, "at": "P90"},
}


@pytest.mark.slow
def test_values_shares_layers_and_a_task_from_file_to_report(world):
    pytest.importorskip("lingua")
    made = study(
        world,
        sweep={**SWEEP, "task": "xnli", "adapter": "none"},
        forcing={"pairs": [["es", "hi"]], "prompts": 3, "new_tokens": 4},
        fallback={"starts": ["es"], "steps": 2, "prompts": 3, "new_tokens": 4},
    )
    result = made.run(world / "run")
    assert result.failed == []
    table = pd.read_parquet(world / "run" / "tables" / "sweep.parquet")
    assert list(dict.fromkeys(zip(table["axis"], table["point"], table["value"], strict=True))) == [
        ("value", "zero", "zero"), ("value", "x2", "x2"), ("value", "P90", "P90"),
        ("share", "10 %", "P90"), ("share", "50 %", "P90"),
        ("layers", "0", "P90"), ("layers", "1", "P90"),
    ]  # fmt: skip
    assert set(table["kind"]) == {"own", "random"}
    assert set(table["metric"]) == {"accuracy"}
    own = table[(table["kind"] == "own") & (table["axis"] == "value")].set_index("value")
    # The same cell as a score of its own would be: the untouched score of the same adapter.
    scores = pd.read_parquet(world / "run" / "tables" / "scores.parquet")
    plain = scores[(scores["language"] == "hi") & (scores["adapter"] == "none")]
    assert own.loc["zero", "untouched"] == plain["value"].iloc[0]
    fallen = pd.read_parquet(world / "run" / "tables" / "fallback.parquet")
    assert list(dict.fromkeys(fallen["removed"]))[:2] == ["", "es"]
    cells = fallen.groupby(["step", "kind", "seed"])
    assert (cells["share"].sum() - 1).abs().max() < 1e-9
    assert (cells["hits"].sum() == 3).all()
    page = (world / "run" / "report" / "index.html").read_text(encoding="utf-8")
    for words in ("Sweep of value, share of units and layers", "Fallback between languages",
                  "Forcing the output language", "Continuing es prompts"):  # fmt: skip
        assert words in page
    figures = {path.stem for path in (world / "run" / "report" / "figures").glob("*.svg")}
    assert {"sweep_hi", "sweep_hi_share_P90", "sweep_hi_layers_P90", "fallback_es"} <= figures
    again = made.run(world / "run")
    assert {outcome.status for outcome in again.outcomes} == {"kept"}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"shares": [1.5]}, "less than or equal to 1"),
        ({"neurons": "cut", "shares": [0.1]}, "needs a set that a method found"),
        ({"neurons": "quota", "shares": [0.1]}, "found in statistics by a share"),
        ({"neurons": "gradient", "shares": [0.1]}, "found in statistics by a share"),
        ({"task": "xnlu"}, "unknown task 'xnlu' in 'sweep'. Did you mean 'xnli'"),
        ({"task": "xnli", "adapter": "non"}, "unknown adapter 'non' in 'sweep'"),
    ],
)
def test_what_cannot_be_swept_is_found_before_anything_runs(world, sweep, message):
    sets = {
        "cut": {"derive": "lape", "exclusive": True},
        "quota": {"method": "lape", "parameters": {"per_language": 0.1}},
        "gradient": {"method": "gradient"},
    }
    with pytest.raises(InputError, match=message):
        study(world, neurons=sets, sweep={"languages": ["hi"], **sweep})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"starts": ["xx"]}, "unknown language 'xx' in 'fallback.starts'"),
        ({"starts": []}, "at least 1 item"),
        ({"starts": ["es"], "neurons": "lap"}, "unknown neuron set 'lap'"),
    ],
)
def test_a_wrong_fallback_is_one_line(world, part, message):
    with pytest.raises(InputError, match=message):
        study(world, fallback=part)
