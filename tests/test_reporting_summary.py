"""Finished runs side by side, and the scored examples kept of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from langneurons.artifacts import write_json, write_table
from langneurons.cli import app as application
from langneurons.errors import InputError
from langneurons.evaluation import Scores, compare
from langneurons.evaluation.items import gather_items, most_called, read_items
from langneurons.reporting.architectures import read_runs
from langneurons.reporting.summary import over_trainings, summarise

CHANGES = {"own": [-20.0, -12.0, -16.0], "matched": [-1.0, 2.0, 0.5]}


def made(metric: str, column: str, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    values = (rng.random(240) < 0.5).astype(float) if column == "correct" else rng.random(240)
    values[3] = np.nan
    rows = pd.DataFrame(
        {"id": [f"q{n}" for n in range(240)], "group": [f"p{n // 3}" for n in range(240)],
         "prediction": ["neutral" if n % 4 else "entailment" for n in range(240)],
         "gold": "some long text " * 20, column: values}
    )  # fmt: skip
    return Scores("xnli" if column == "correct" else "xquad", "hi", (metric,), rows)


def cell(adapter: str, value: str, units: str, seed: int, difference: float) -> dict:
    return {
        "task": "xnli", "adapter": adapter, "language": "hi", "metric": "accuracy",
        "intervention": value, "units": units, "neurons": "-" if value == "none" else "lape",
        "seed": seed, "n": 240, "value": 50.0 + difference, "low": 45.0, "high": 55.0,
        "difference": difference, "difference_low": difference - 3,
        "difference_high": difference + 3, "p_value": 0.01, "p_holm": 0.02, "mde": 4.0,
        "chance": 33.3,
    }  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs: one with two trainings, one with one; two draws of the control."""
    for run, places in (("first", (0, 1)), ("second", (2,))):
        folder = tmp_path / "runs" / run
        write_json(folder / "run.json", {"name": run})
        rows = []
        for place in places:
            name = f"all-{place}"
            rows.append(cell(name, "none", "-", 0, 0.0))
            rows.append(cell(name, "mean", "own", 0, CHANGES["own"][place]))
            control = CHANGES["matched"][place]
            rows += [cell(name, "mean", "matched", n, control + (2 * n - 1)) for n in range(2)]
        write_table(folder / "tables" / "scores.parquet", pd.DataFrame(rows))
        for number, metric in enumerate(("accuracy", "f1")):
            scores = made(metric, "correct" if metric == "accuracy" else "f1", number)
            for seed, value in enumerate(("none", "mean-own-lape")):
                other = made(metric, scores.rows.columns[-1], 2 * number + seed)
                other.save(folder / "scores" / scores.task / "all-0" / "hi" / f"{value}.parquet")
    return tmp_path / "runs"


def test_kept_items_compare_as_the_run_did(runs: Path) -> None:
    kept = runs / "items.parquet"
    write_table(kept, gather_items(runs / "first"))
    assert kept.stat().st_size < 30_000
    found = read_items(kept)
    for task in ("xnli", "xquad"):
        names = [f"{task}/all-0/hi/{name}" for name in ("mean-own-lape", "none")]
        theirs = [Scores.load(runs / "first" / "scores" / f"{name}.parquet") for name in names]
        ours, original = compare(*(found[name] for name in names)), compare(*theirs)
        assert ours.p_value == original.p_value
        assert ours.test == original.test == "permutation"
        assert (ours.difference, *ours.interval) == pytest.approx(
            (original.difference, *original.interval), abs=1e-4
        )
    with pytest.raises(InputError, match="no scores below"):
        gather_items(runs / "empty")


def test_the_class_given_most_often_is_counted(runs: Path) -> None:
    called = most_called(gather_items(runs / "first"))
    assert set(called["cell"]) == {"xnli/all-0/hi/none", "xnli/all-0/hi/mean-own-lape"}
    assert set(zip(called["most"], called["times"], called["n"], strict=True)) == {
        ("neutral", 180, 240)
    }
    assert most_called(pd.DataFrame({"task": []})).empty


def test_a_training_counts_once_and_the_test_is_over_trainings(runs: Path) -> None:
    tables = summarise(read_runs([runs]))
    (row,) = tables["over_trainings"].to_dict("records")
    own, control = (np.array(CHANGES[kind]) for kind in ("own", "matched"))
    assert row["trainings"] == 3
    assert row["own"] == pytest.approx(own.mean())
    assert row["controls"] == pytest.approx(control.mean())
    apart = own - control
    half = stats.t.ppf(0.975, 2) * apart.std(ddof=1) / np.sqrt(3)
    assert (row["apart"], row["apart_low"], row["apart_high"]) == pytest.approx(
        (apart.mean(), apart.mean() - half, apart.mean() + half)
    )
    assert row["p_value"] == pytest.approx(stats.ttest_1samp(apart, 0).pvalue)
    assert row["p_holm"] == row["p_value"]
    assert set(tables["items"]["run"]) == {"first", "second"}
    one = over_trainings(tables["changes"].query("run == 'second'"))
    assert one["p_value"].isna().all()
    alone = over_trainings(tables["changes"].query("units == 'own'"))
    assert (alone["control"] == "none").all()


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line in this process; gives exit code, output and errors."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["langneurons", *words])
        with pytest.raises(SystemExit) as left:
            application.main()
        seen = capsys.readouterr()
        return int(left.value.code or 0), seen.out, seen.err

    return call


def test_the_command_prints_writes_and_speaks_json(runs: Path, run, tmp_path: Path) -> None:
    code, out, _ = run("summarise", str(runs), "-o", str(tmp_path / "kept"))
    assert code == 0
    assert "# first, second" in out
    assert "## Over trainings" in out
    written = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"summary.md", "items.parquet", "over_trainings.parquet", "changes.parquet"} <= written
    code, out, _ = run("summarise", str(runs / "first"), "--json")
    assert code == 0
    assert json.loads(out)["untouched"][0]["value"] == 50.0
    write_json(tmp_path / "bare" / "run.json", {"name": "bare"})
    code, _, err = run("summarise", str(tmp_path / "bare"))
    assert code == 2
    assert "no tables to sum up" in err
