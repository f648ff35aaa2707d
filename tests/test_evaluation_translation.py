"""Translation: chrF++ by its definition, FLORES from files and from the Hub's layout."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from langneurons.data.tasks import TranslationExample, get_task
from langneurons.errors import InputError
from langneurons.evaluation import evaluate
from langneurons.evaluation.translation import chrf
from langneurons.finetuning import finetune

pytest.importorskip("sacrebleu", reason="the extra [translation] is not installed")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "flores200"
WORDS = st.lists(st.text("abcdeé हि", min_size=1, max_size=6), max_size=8).map(" ".join)


def by_definition(prediction: str, reference: str) -> float:
    """F2 of precision and recall, each averaged over the orders that both sides have."""
    found = []
    for unit, orders in ((lambda t: list("".join(t.split())), range(1, 7)),
                         (lambda t: t.split(), range(1, 3))):  # fmt: skip
        for n in orders:
            a, b = (
                Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
                for tokens in (unit(prediction), unit(reference))
            )
            if not a.total() or not b.total():
                continue
            hits = (a & b).total()
            found.append((hits / a.total(), hits / b.total()))
    if not found:
        return 0.0
    precision, recall = (sum(values) / len(found) for values in zip(*found, strict=True))
    low = 4 * precision + recall
    return 5 * precision * recall / low if low else 0.0


@given(WORDS, WORDS)
def test_chrf_by_definition(prediction: str, reference: str) -> None:
    assert chrf(prediction, reference) == pytest.approx(by_definition(prediction, reference))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "devtest.en.txt").write_text("the cat\nthe dog\nand\n", encoding="utf-8")
    (tmp_path / "devtest.hi.txt").write_text("बिल्ली\nकुत्ता\nऔर\n", encoding="utf-8")
    (tmp_path / "devtest.es.txt").write_text("el gato\n", encoding="utf-8")
    return tmp_path


def test_examples_are_parallel_and_name_both_languages(folder: Path) -> None:
    task = get_task(f"flores:{folder}")
    first = task.examples("hi")[0]
    assert isinstance(first, TranslationExample)
    assert (first.source, first.reference) == ("the cat", "बिल्ली")
    assert task.encode(first) == "English: the cat\nHindi:"
    back = get_task("flores", path=folder, source="hi").examples("en")[1]
    assert isinstance(back, TranslationExample)
    assert (back.source, back.reference) == ("कुत्ता", "the dog")
    assert (back.source_language, back.target_language) == ("Hindi", "English")
    same = get_task("flores", path=folder, source="hi").examples("hi")[1]
    assert isinstance(same, TranslationExample)
    assert (same.source, same.reference) == ("the dog", "कुत्ता")


@pytest.mark.parametrize(
    ("lang", "words"),
    [("es", "must be parallel"), ("en", "English is the source"), ("xx", "no name for 'xx'")],
)
def test_what_cannot_be_translated_is_said(folder: Path, lang: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        get_task(f"flores:{folder}").examples(lang)


def test_from_the_hubs_layout(tmp_path: Path) -> None:
    for code, text in (("eng_Latn", "the cat"), ("hin_Deva", "बिल्ली")):
        (tmp_path / "devtest").mkdir(exist_ok=True)
        (tmp_path / code).mkdir()
        row = json.dumps({"id": 1, "text": text}, ensure_ascii=False)
        (tmp_path / code / "devtest.jsonl").write_text(row + "\n", encoding="utf-8")
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {code}\n  data_files:\n  - split: devtest\n"
        f"    path: {code}/devtest.jsonl\n"
        for code in ("eng_Latn", "hin_Deva")
    )
    (tmp_path / "README.md").write_text(card + "---\n", encoding="utf-8")
    first = get_task("flores", repo=str(tmp_path)).examples("hi")[0]
    assert isinstance(first, TranslationExample)
    assert (first.source, first.reference) == ("the cat", "बिल्ली")


def test_a_model_is_scored_on_it(folder: Path, tmp_path: Path) -> None:
    lm = tiny.lm("llama")
    scores = evaluate(
        lm, f"flores:{folder}", "hi", max_new_tokens=5, output=tmp_path / "scores.parquet"
    )
    assert scores.metrics == ("chrf",)
    assert scores.n == 3
    rows = scores.rows
    wanted = [by_definition(a, b) for a, b in zip(rows["prediction"], rows["gold"], strict=True)]
    assert scores.value() == pytest.approx(100 * sum(wanted) / 3)
    assert not math.isnan(scores.interval()[0])
    with pytest.raises(InputError, match="cannot be trained on"):
        finetune(lm, f"flores:{folder}", "hi", output=tmp_path / "a", split="test")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no folder {DATA}")
def test_the_real_sentences() -> None:
    examples = get_task(f"flores:{DATA}").examples("hi")
    assert len(examples) == 1012
    assert chrf(examples[0].reference, examples[0].reference) == 1.0  # type: ignore[attr-defined]
