"""Questions in parallel: CLaS-Bench's folder, XQuAD's files, and what is refused."""

import json

import pytest

from langneurons.data.tasks import get_task
from langneurons.data.tasks.clas import language_name
from langneurons.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "en.txt").write_text("\ufeffWhy?\n\nWho is she? \n", encoding="utf-8")
    (tmp_path / "data" / "hi.txt").write_text("क्यों?\nवह कौन है?\n", encoding="utf-8")
    return tmp_path


def test_a_question_a_line_of_a_file_a_language(folder):
    for place in (folder, folder / "data"):
        task = get_task(f"clas:{place}")
        found = task.examples("en")
        assert [(item.id, item.question) for item in found] == [("0", "Why?"), ("1", "Who is she?")]
        assert [item.answers for item in found] == [(), ()]
        assert [item.id for item in task.examples("hin")] == ["0", "1"]
        assert task.encode(found[1]) == "Who is she?"
    task = get_task(f"clas:{folder}", template="Q: {question}\nA:")
    assert task.encode(task.examples("en")[0]) == "Q: Why?\nA:"


def test_questions_of_xquad(tmp_path):
    asked = {"id": "7", "question": "How many?", "answers": [{"text": "two", "answer_start": 0}]}
    data = {"data": [{"paragraphs": [{"context": "two apples", "qas": [asked]}]}]}
    (tmp_path / "xquad.en.json").write_text(json.dumps(data))
    task = get_task(f"clas:{tmp_path}", template="{context} {question}")
    (item,) = task.examples("en")
    assert (item.id, item.answers, task.encode(item)) == ("7", ("two",), "two apples How many?")


def test_without_a_folder_the_questions_of_xquad_come_from_the_hub(monkeypatch):
    def load(repo, config, split, what):
        assert (repo, config, split) == ("google/xquad", "xquad.hi", "validation")
        return [{"id": "7", "context": "c", "question": "q?", "answers": {"text": ["two"]}}]

    monkeypatch.setattr("langneurons.data.tasks.clas.load_hub", load)
    (item,) = get_task("clas").examples("hi")
    assert (item.id, item.question, item.answers) == ("7", "q?", ("two",))


def test_names_of_languages():
    assert [language_name(code) for code in ("hi", "zho_Hans", "tl")] == [
        "Hindi", "Chinese", "Tagalog",
    ]  # fmt: skip
    with pytest.raises(InputError, match="no English name is known for 'xx'"):
        language_name("xx")


def test_what_is_refused(folder):
    task = get_task(f"clas:{folder}")
    with pytest.raises(InputError, match="clas has no split 'dev'"):
        task.examples("en", "dev")
    with pytest.raises(InputError, match="clas 'fr' not found"):
        task.examples("fr")
    (folder / "data" / "es.txt").write_bytes("¿Qué?".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        task.examples("es")
