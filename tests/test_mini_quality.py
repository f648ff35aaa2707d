"""The table of a built-in model's quality: what it takes from the tables of its study."""

from types import SimpleNamespace

import pandas as pd
import pytest

from langneurons.artifacts import write_table
from langneurons.cli.mini_quality import lines, measure, table
from langneurons.errors import RunError
from langneurons.identification import NeuronSet, Units
from langneurons.study import Study

LANGUAGES = ["en", "hi"]


@pytest.fixture
def run(tmp_path):
    """A run in which everything is known."""
    scores, hard = [], []
    for seed, (home, other) in enumerate(((90.0, 60.0), (94.0, 70.0))):
        for lang, value in (("en", home), ("hi", other)):
            cell = {"task": "mini-nli", "adapter": "all", "seed": seed, "language": lang}
            scores.append({**cell, "metric": "accuracy", "value": value})
            hard.append({**cell, "metric": "accuracy", "value": value - 10})
            for metric, offset in (("exact_match", 0.0), ("f1", 1.0)):
                row = {**cell, "task": "mini-qa", "metric": metric, "value": value + offset}
                scores.append(row)
                hard.append({**row, "value": value - 20 + offset})
    cells = [
        {"row": row, "column": column, "kind": "own", "seed": 0, "ratio": ratio}
        for row, column, ratio in (
            ("en", "en", 1.02), ("en", "hi", 1.05), ("hi", "en", 1.0), ("hi", "hi", 1.04),
        )
    ]  # fmt: skip
    cells += [
        {"row": lang, "column": lang, "kind": "random", "seed": seed, "ratio": ratio}
        for lang, ratios in (("en", (1.01, 1.03)), ("hi", (1.0, 1.02)))
        for seed, ratio in enumerate(ratios)
    ]
    rules = [
        {"task": "mini-nli", "language": lang, "rule": "bag of words", "subset": subset,
         "metric": "accuracy", "value": value}
        for lang, offset in (("en", 0.0), ("hi", 5.0))
        for subset, value in (("all", 33.0 + offset), ("two holders", 31.0 + offset))
    ]  # fmt: skip
    tables = {"scores": scores, "two_holders": hard, "perplexity": cells, "rules": rules}
    for name, rows in tables.items():
        write_table(tmp_path / "tables" / f"{name}.parquet", pd.DataFrame(rows))
    units = {"en": Units([0, 1], [3, 4]), "hi": Units([1], [5])}
    NeuronSet(units, (2, 8), method="lape").save(tmp_path / "neurons" / "lape.json")
    return tmp_path


def test_the_table_is_that_of_the_run(run):
    found = table(run, LANGUAGES, "en")
    assert found["tasks"]["mini-nli"]["en"] == {"all": 92.0, "two_holders": 82.0}
    assert found["tasks"]["mini-qa"]["hi"] == {"all": 65.0, "two_holders": 45.0}
    assert found["gaps"] == [30.0, 24.0]
    assert found["rules"] == {"mini-nli": {"bag of words": {"all": 33.0, "two_holders": 31.0}}}
    assert found["neurons"] == {"en": 2, "hi": 1}
    assert found["own"] == pytest.approx({"en": 0.02, "hi": 0.04})
    assert found["random"] == pytest.approx({"en": 0.03, "hi": 0.02})
    assert found["dominant"] == found["beyond_random"] == ["hi"]


def test_the_lines_say_it(run):
    said = lines(table(run, LANGUAGES, "en"))
    assert said[1].split() == ["en", "92.0", "(", "82.0)", "92.0", "(", "72.0)", "2", "2.0%",
                               "3.0%"]  # fmt: skip
    assert "mini-nli bag of words: 33.0 (31.0)" in said
    assert said[-1].endswith("suffers most: 1 of 2; beyond every random draw: 1")


def test_a_stage_that_failed_is_one_line(monkeypatch):
    failed = SimpleNamespace(name="finetune/mini-nli/all.0", reason="out of memory.\n")
    monkeypatch.setattr(Study, "run", lambda self, folder: SimpleNamespace(failed=[failed]))
    words = "finetune/mini-nli/all.0: out of memory; run the study itself .* -s model=mini"
    with pytest.raises(RunError, match=words):
        measure("mini", "cpu", 0)


@pytest.mark.parametrize(("model", "site"), [("mini", "mlp.act"), ("mini-moe", "moe.act")])
def test_the_units_are_where_the_model_has_them(monkeypatch, model, site):
    """A mixture has none outside its experts, so that nothing would be found or trained there."""
    asked = []

    def run(study, _folder):
        asked.append(study.config.statistics.site)
        return SimpleNamespace(failed=[SimpleNamespace(name="x", reason="stopped")])

    monkeypatch.setattr(Study, "run", run)
    with pytest.raises(RunError):
        measure(model, "cpu", 0)
    assert asked == [site]


@pytest.mark.slow
def test_the_shipped_model_is_measured():
    found = measure("mini", "cpu", 0, ["budget=small", "threads=1"])
    assert set(found["tasks"]) == {"mini-nli", "mini-qa"}
    assert found["tasks"]["mini-qa"]["en"]["all"] > 80
    assert sum(found["neurons"].values()) > 100
