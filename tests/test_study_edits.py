"""Whatever a study was before: its folder gives what a fresh folder gives."""

import json
import random
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

import study_world
from langneurons.artifacts import read_json
from langneurons.cli.app import app
from langneurons.stages import records
from langneurons.study import Study

EDITS = {
    "languages": (["en", "es", "hi"], ["en", "hi"], ["hi", "es"]),
    "neurons.lape.parameters.top": (0.2, 0.3),
    "interventions.values": (["zero", "P10"], ["zero"]),
    "interventions.languages": (["es", "hi"], ["hi"]),
    "interventions.random": (1, 0),
    "finetune.steps": (6, 4),
    "tasks.xnli.limit": (None, 12),
    "perplexity": (None, {"neurons": ["lape"], "tokens": 600, "random": 1, "matched": 1}),
    "perplexity.value": ("zero", "mean"),
    "adapters.hi": ({"neurons": "lape:hi"}, None),
    "neurons.two": ({"languages": ["en", "hi"], "parameters": {"top": 0.2}}, None),
    "interventions": (None, {"neurons": ["lape"], "values": ["P10"], "random": 0}),
}
"""A dozen keys of a study and the values they are changed to and back."""

pytestmark = pytest.mark.usefixtures("short_reports")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return study_world.build(tmp_path_factory.mktemp("edits"))


def study(world, edits, **more):
    words = [f"{key}={json.dumps(value)}" for key, value in {**edits, **more}.items()]
    # Without Hindi or Spanish, nothing can be said of it.
    return Study.from_yaml(world / "tasks.yaml", ["threads=1", *words])


def tables(out):
    """Every table of a run, without what the clock decides."""
    found = {path.stem: pd.read_parquet(path) for path in sorted((out / "tables").glob("*"))}
    return {name: table.drop(columns="seconds", errors="ignore") for name, table in found.items()}


def same(out, fresh):
    ours, theirs = tables(out), tables(fresh)
    assert set(ours) == set(theirs)
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table, theirs[name], obj=name)


def walk(world, tmp_path, seed, steps):
    """Change one key at a time, and compare each form with a run in a fresh folder."""
    chance, edits, clean = random.Random(seed), {}, {}
    out = tmp_path / "walked"
    for step in range(steps):
        key = chance.choice(sorted(EDITS))
        edits[key] = chance.choice([value for value in EDITS[key] if value != edits.get(key)])
        edits = fitting(edits)
        result = study(world, edits).run(out)
        assert result.failed == [], result.failed
        form = json.dumps(edits, sort_keys=True)
        if form not in clean:
            clean[form] = tmp_path / f"fresh{step}"
            assert study(world, edits).run(clean[form]).failed == []
        same(out, clean[form])


def fitting(edits):
    """Without what names a language, a set or a part that has been taken out."""
    edits = dict(edits)
    languages = edits.get("languages", EDITS["languages"][0])
    if {"en", "hi"} - set(languages):
        edits["neurons.two"] = None
    if edits.get("interventions", 0) is None:
        edits = {key: value for key, value in edits.items() if not key.startswith("interventions.")}
    elif set(languages) != {"en", "es", "hi"}:
        edits["interventions.languages"] = ["hi"]
    if edits.get("perplexity", 0) is None:
        edits.pop("perplexity.value", None)
    # A part comes before its keys, as in the order of the words on a command line.
    return dict(sorted(edits.items()))


@pytest.mark.parametrize("seed", [1])
def test_a_short_walk_over_edits_leaves_nothing_stale(world, tmp_path, seed):
    walk(world, tmp_path, seed, 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_long_walk_over_edits_leaves_nothing_stale(world, tmp_path, seed):
    walk(world, tmp_path, seed, 12)


@pytest.fixture(scope="module")
def small(world, tmp_path_factory):
    """A finished run of statistics, sets and perplexity alone."""
    out = tmp_path_factory.mktemp("small") / "run"
    with study_world.short_reports():
        assert Study.from_yaml(world / "study.yaml", ["threads=1"]).run(out).failed == []
    return out


def copied(small, tmp_path):
    shutil.copytree(small, tmp_path / "run")
    return tmp_path / "run"


def test_a_form_that_was_left_is_set_aside_said_and_taken_up_again(world, small, tmp_path):
    out, fresh = copied(small, tmp_path), tables(small)
    there = sorted(path.relative_to(out) for path in out.rglob("*.safetensors"))
    fewer = Study.from_yaml(world / "study.yaml", ["languages=[en,hi]", "threads=1"])
    assert fewer.run(out).failed == []
    assert not (out / "statistics" / "es.safetensors").exists()
    said = CliRunner().invoke(app, ["explain", str(out), "statistics/es"])
    assert said.exit_code == 0
    assert "statistics/es: set aside" in said.output
    back = Study.from_yaml(world / "study.yaml", ["threads=1"])
    assert not [stage.name for stage in back.plan().stages
                if records.why(out, back.plan(), stage) and not stage.summary]  # fmt: skip
    result = back.run(out)
    ran = {outcome.name for outcome in result.outcomes if outcome.status != "kept"}
    assert ran == {"tables"}
    assert sorted(p.relative_to(out) for p in out.rglob("*.safetensors")
                  if ".aside" not in p.parts) == there  # fmt: skip
    for name, table in tables(out).items():
        pd.testing.assert_frame_equal(table, fresh[name])


def test_tables_that_fail_leave_the_last_ones(world, small, tmp_path, monkeypatch):
    from langneurons.parts.neurons import tables as made

    out = copied(small, tmp_path)

    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(made, "_layers", broken)
    result = Study.from_yaml(world / "study.yaml", ["perplexity.value=mean"]).run(out)
    assert [outcome.name for outcome in result.failed] == ["tables"]
    assert (out / "tables" / "perplexity.parquet").is_file()
    assert "RuntimeError: planted" in (out / ".stages" / "tables.log").read_text()
    failed = [s for s in read_json(out / "run.json")["stages"] if s["status"] == "failed"]
    assert [stage["name"] for stage in failed] == ["tables"]
    monkeypatch.undo()
    assert Study.from_yaml(world / "study.yaml", ["perplexity.value=mean"]).run(out).failed == []
    assert not (out / ".stages" / "tables.log").exists()


def test_a_language_may_be_called_as_another_and_a_suffix(world, tmp_path):
    (world / "en.b.txt").write_text((world / "hi.txt").read_text())
    first = ["languages=[en,en.b]", "neurons.two=null", "perplexity=null", "threads=1"]
    out = tmp_path / "run"
    assert Study.from_yaml(world / "study.yaml", first).run(out).failed == []
    before = (out / "statistics" / "en.b.safetensors").read_bytes()
    (out / "statistics" / "en.safetensors").write_bytes(b"damaged")
    result = Study.from_yaml(world / "study.yaml", first).run(out)
    assert "statistics/en.b" not in {o.name for o in result.outcomes if o.status == "done"}
    assert (out / "statistics" / "en.b.safetensors").read_bytes() == before


def test_single_commands_write_beside_a_study_and_never_over_it(world, small, tmp_path):
    out = copied(small, tmp_path)
    before = (out / "neurons" / "lape.json").read_bytes()
    command = ["identify", str(out), "-p", "top=0.4"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (out / "neurons" / "lape.json").read_bytes() == before
    assert (out / "identified" / "lape.json").is_file()
    for place in (out, out / "statistics", out / "neurons" / "lape.json", out / "neurons" / "x"):
        done = CliRunner().invoke(app, [*command, "-o", str(place)])
        assert "lies among the results of the study" in str(done.exception), place
    collect = ["collect", "-t", f"en={world / 'en.txt'}", "-o", str(out / "statistics")]
    done = CliRunner().invoke(app, collect)
    assert "lies among the results of the study" in str(done.exception)
