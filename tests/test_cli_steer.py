"""``langneurons steer``: one's own prompts, with and without, and what it refuses."""

import json
from importlib.util import find_spec

import pandas as pd
import pytest
from typer.testing import CliRunner

import tiny
from langneurons.cli.app import app
from study_world import documents


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("steer")
    lm = tiny.lm("llama")
    lm.model.save_pretrained(root / "model")
    lm.tokenizer.save_pretrained(root / "model")
    for lang in ("en", "hi"):
        (root / f"{lang}.txt").write_text("\n".join(documents(lang)), encoding="utf-8")
    (root / "prompts.txt").write_text("the cat\nthe dog runs\n", encoding="utf-8")
    return root


def call(world, *words, ok=True):
    given = ["steer", str(world / "model"), "--prompts", str(world / "prompts.txt"), "--to", "hi"]
    text = [part for lang in ("en", "hi") for part in ("-t", f"{lang}={world / lang}.txt")]
    text = [] if "--statistics" in words or "-t" in words else text
    said = CliRunner().invoke(app, [*given, *text, "--new-tokens", "4", "--tokens", "300",
                                    "--block", "32", *words])  # fmt: skip
    if ok:
        assert said.exit_code == 0, said.output
        return said.stdout
    return str(said.exception)


def test_prompts_are_continued_with_and_without(world, tmp_path):
    named = find_spec("lingua") is not None
    out = tmp_path / "written.csv"
    shown = call(world, "-o", str(out), "--strength", "4")
    assert f"> the cat\n  untouched{' [' if named else ':'}" in shown
    assert f"steered to hi{' [' if named else ':'}" in shown
    table = pd.read_csv(out)
    assert table["steering"].tolist() == ["untouched"] * 2 + ["steered to hi"] * 2
    rows = json.loads(call(world, "--json", "--strength", "0"))
    halves = [[row["continuation"] for row in rows[start : start + 2]] for start in (0, 2)]
    assert halves[0] == halves[1]  # strength 0 changes nothing
    rows = json.loads(call(world, "--json", "--strength", "20", "--layers", "all", "--how",
                           "keep_norm", "--method", "pca"))  # fmt: skip
    assert [row["continuation"] for row in rows[:2]] != [row["continuation"] for row in rows[2:]]


def test_a_dry_run_says_what_would_be_done(world):
    found = json.loads(call(world, "--dry-run", "--json", "--layers", "1"))
    assert found["direction"] == "difference, en to hi"
    assert found["how"] == "add, strength 1, layers: 1"
    assert found["tokens written"] == 16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "pcb"], "unknown method for directions 'pcb'"),
        (["--from", "hi"], "--to and --from both say 'hi'"),
        (["--layers", "one"], "--layers one must be numbers with commas"),
        (["--layers", "7"], "no layer 7"),
        (["-o", "written.txt"], "must end in .parquet or .csv"),
    ],
)
def test_what_is_refused(world, words, said):
    assert said in call(world, *words, ok=False)


def test_statistics_of_both_languages_are_needed(world, tmp_path):
    text = [part for lang in ("en", "hi") for part in ("-t", f"{lang}={world / lang}.txt")]
    said = CliRunner().invoke(app, ["collect", "-m", str(world / "model"), *text, "--site", "resid",
                                    "--tokens", "300", "-o", str(tmp_path)])  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "found on" in call(world, "--statistics", str(tmp_path), "--dry-run")
    assert "  untouched" in call(world, "--statistics", str(tmp_path))
    wrong = call(world, "--statistics", str(tmp_path), "--from", "es", ok=False)
    assert "no text of 'es', between which the direction leads" in wrong
