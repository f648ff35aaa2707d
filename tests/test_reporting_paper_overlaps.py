"""Overlap with the training language against what overwrites cost: by definition, planted, null."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from langneurons.parts.paper import overlaps
from langneurons.study.report import read, report
from reporting_run import finetuning_table, neurons_table, overlap_table, scores_table, write_run

LANGUAGES = ("en", "vi", "hi", "ur", "zh", "es")


def run_of(folder, sign=0.0):
    """A run in which the change of each overwrite is, with a sign, a function of the overlap."""
    rng = np.random.default_rng(3)
    neurons = neurons_table(rng, LANGUAGES, ("lape",))
    shared = overlap_table(neurons, rng)
    pairs = zip(shared["a"], shared["b"], shared["language_a"], shared["language_b"], strict=True)
    places: dict[frozenset[str], int] = {}  # no two pairs of languages alike
    shared["jaccard"] = [
        0.01 * places.setdefault(frozenset(pair), 1 + len(places)) for pair in pairs
    ]
    scores = scores_table(rng, LANGUAGES)
    if sign:
        known = {
            row["language_a"] if row["language_b"] == "en" else row["language_b"]: row["jaccard"]
            for row in shared[(shared["a"] == "lape") & (shared["b"] == "lape")].to_dict("records")
            if "en" in (row["language_a"], row["language_b"])
        }
        own = scores["units"] == "own"
        planted = scores.loc[own, "language"].map(known)
        scores.loc[own, "difference"] = sign * planted
    tables = {
        "neurons": neurons,
        "overlap": shared,
        "scores": scores,
        "finetuning": finetuning_table(LANGUAGES),
    }
    return read(write_run(folder, tables, languages=list(LANGUAGES), train_language="en"))


def test_cells_stand_beside_the_overlap_with_the_training_language(tmp_path):
    run = run_of(tmp_path, 2.0)
    data = overlaps.cells(run)
    assert set(data["language"]) == set(LANGUAGES) - {"en"}
    shared = run.table("overlap")
    for row in data.to_dict("records"):
        pair = {row["language"], "en"}
        rows = shared[(shared["a"] == row["neurons"]) & (shared["b"] == row["neurons"])]
        match = [r for r in rows.to_dict("records") if {r["language_a"], r["language_b"]} == pair]
        assert row["overlap"] == pytest.approx(match[0]["jaccard"])
        assert row["difference"] == pytest.approx(2 * row["overlap"])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_planted_relation_is_found_with_its_sign(tmp_path, sign):
    found = overlaps.correlations(overlaps.cells(run_of(tmp_path, sign)))
    assert found["rho"].to_numpy() == pytest.approx(sign)
    assert found["p_value"].to_numpy() == pytest.approx(2 / 120)
    assert found["p_least"].to_numpy() == pytest.approx(2 / 120)


def test_the_p_value_by_enumerating_languages():
    rng = np.random.default_rng(1)
    x, y = rng.random(5), rng.random(5)
    data = pd.DataFrame(
        {
            **dict.fromkeys(("task", "metric", "adapter", "neurons", "value"), "one"),
            "language": list("abcde"), "overlap": x, "difference": y, "n": 9,
        }
    )  # fmt: skip

    def rho(drawn):
        return np.corrcoef(rankdata(drawn), rankdata(y))[0, 1]

    every = np.array([rho(drawn) for drawn in itertools.permutations(x)])
    above, below = (every >= rho(x) - 1e-12).mean(), (every <= rho(x) + 1e-12).mean()
    found = overlaps.correlations(data).iloc[0]
    assert found["rho"] == pytest.approx(rho(x))
    assert found["p_value"] == pytest.approx(min(1.0, 2 * min(above, below)))
    assert overlaps.correlations(data.iloc[:2]).empty
    same = overlaps.correlations(data.assign(overlap=0.5))
    assert same["rho"].isna().all()
    assert "same for every language" in overlaps.sentence_of(same)


def test_the_section_and_what_few_languages_cannot_show(tmp_path):
    run = run_of(tmp_path / "run", 1.0)
    report(tmp_path / "run")
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Overlap and what overwrites cost" in page
    assert (tmp_path / "run" / "report" / "tables" / "paper_overlaps.csv").is_file()
    data = overlaps.cells(run)
    few = overlaps.correlations(data[data["language"].isin(["vi", "hi", "ur"])])
    assert "could not have been, having too few languages" in overlaps.sentence_of(few)
