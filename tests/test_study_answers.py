"""Answers of a study are held against the training language's, as the public function does."""

import json

import pandas as pd
import pytest
import yaml

import study_world
from langneurons import Study, compare
from langneurons.data.tasks import get_task
from langneurons.errors import InputError
from langneurons.evaluation import Scores, answer_language


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = study_world.build(tmp_path_factory.mktemp("answers"))
    (root / "xquad").mkdir()
    for lang in study_world.WORDS:
        paragraphs = []
        for n, text in enumerate(study_world.documents(lang, 8)):
            word = text.split()[3]
            answer = {"text": word, "answer_start": text.index(word)}
            question = {"id": f"q{n}", "question": text.split()[0], "answers": [answer]}
            paragraphs.append({"context": text, "qas": [question]})
        data = {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}
        (root / "xquad" / f"xquad.{lang}.json").write_text(json.dumps(data), encoding="utf-8")
    config = yaml.safe_load((root / "study.yaml").read_text(encoding="utf-8"))
    config |= {
        "neurons": {"ap": {"method": "average_precision", "parameters": {"top": 0.1}}},
        "perplexity": None,
        "tasks": {"xquad": {"source": f"xquad:{root / 'xquad'}", "split": "test"}},
        "adapters": {"base": {"neurons": "base"}},
        "interventions": {"adapter": "base", "neurons": ["ap"], "values": ["zero"],
                          "languages": ["hi"], "random": 1},
        "answers": {"shown": 2},
    }  # fmt: skip
    (root / "answers.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return root


def test_answers_are_held_against_both_languages(world, tmp_path):
    out = tmp_path / "run"
    result = Study.from_yaml(world / "answers.yaml", ["threads=1"]).run(out)
    assert result.failed == []
    table = pd.read_parquet(out / "tables" / "answers.parquet")
    task = get_task(f"xquad:{world / 'xquad'}")
    gold = {item.id: item.answers for item in task.examples("en", "test")}
    folder = out / "scores" / "xquad" / "base" / "hi"
    plain, own = (
        answer_language(Scores.load(folder / f"{name}.parquet"), gold, "en")
        for name in ("none", "zero-own-ap")
    )
    assert set(table["metric"]) == set(plain.metrics) == {
        "f1", "f1_en", "f1_either", "latin", "own_script",
    }  # fmt: skip
    for metric in plain.metrics:
        rows = table[table["metric"] == metric].set_index("units")
        assert rows.loc["-", "level"] == pytest.approx(plain.value(metric))
        wanted = compare(own, plain, metric=metric)
        there = rows.loc["own"]
        assert (there["difference"], there["low"], there["high"]) == pytest.approx(
            (wanted.difference, *wanted.interval)
        )
    given = pd.read_parquet(out / "tables" / "answers_given.parquet")
    assert set(given["value"]) == {"none", "zero"}
    assert len(given) == 4
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "In which language are questions answered?" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("answers.task=nothing", "unknown task 'nothing' in 'answers'"),
        ("interventions=null", "answers needs .interventions."),
    ],
)
def test_what_does_not_fit_is_refused(world, change, words):
    with pytest.raises(InputError, match=words):
        Study.from_yaml(world / "answers.yaml", [change])


def test_a_task_without_questions_is_refused(world, tmp_path):
    changes = [f"tasks.pairs.source=xnli:{world / 'xnli'}", "answers.task=pairs"]
    with pytest.raises(InputError, match=r"answers\.task: .pairs. has no questions, take a task"):
        Study.from_yaml(world / "answers.yaml", changes).run(tmp_path / "run")
