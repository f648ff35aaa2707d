"""Exact match and F1 against the official evaluation, unmodified, and by definition."""

import json
import string
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langneurons.errors import InputError
from langneurons.evaluation.squad import (
    OFFICIAL,
    bag_f1,
    best,
    exact_match,
    f1,
    normalise,
    squad_scores,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no folder {DATA}")
LANGUAGES = [*OFFICIAL, "ur", "fr", "th", "ja", "ru"]
text = st.text(
    st.one_of(
        st.sampled_from("the a el la der die ال là của 中国 ประเทศ अ ا 🐈 \u0301 \u202b -,.।؟ "),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


@needs_data
@pytest.mark.parametrize("lang", ["en", "hi", "zh"])
def test_equal_to_the_official_evaluation(lang: str) -> None:
    folder = DATA / "squad-reference"
    expected = json.loads((folder / "expected.json").read_text())[lang]
    predictions = json.loads((folder / f"predictions.{lang}.json").read_text(encoding="utf-8"))
    found = squad_scores(DATA / "xquad" / f"xquad.{lang}.json", predictions, lang)
    assert found == pytest.approx(expected, abs=1e-6)


@needs_data
@pytest.mark.parametrize("lang", ["en", "es", "hi", "vi", "de", "ar", "zh", "th", "el", "ro"])
def test_gold_answers_score_full_marks(lang: str) -> None:
    path = DATA / "xquad" / f"xquad.{lang}.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    gold = {
        question["id"]: question["answers"][0]["text"]
        for article in value["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    found = squad_scores(value, gold, lang)
    assert found["exact_match"] == 100.0
    # The official F1 of an answer without any word (all punctuation or articles) is 0.
    empty = sum(not normalise(answer, lang) for answer in gold.values())
    assert found["f1"] == pytest.approx(100 * (1 - empty / len(gold)))
    half = dict(list(gold.items())[::2])
    assert squad_scores(value, half, lang)["exact_match"] == pytest.approx(
        100 * len(half) / len(gold)
    )


@pytest.mark.parametrize(
    ("lang", "text", "words"),
    [
        ("en", "The  cat, an 'Owl' and  A.dog", ["cat", "owl", "and", "adog"]),
        ("es", "El gato y las casas", ["gato", "y", "casas"]),
        ("de", "Die Katze des Königs", ["katze", "königs"]),
        ("vi", "Những con mèo của tôi", ["con", "mèo", "tôi"]),
        ("hi", "एक बिल्ली, और।", ["एक", "बिल्ली", "और"]),
        ("ar", "في البيت", ["في", "بيت"]),
        ("zh", "北京,2008年 Olympics。", ["北", "京", "2008", "年", "olympics"]),
        ("ja", "東京タワー2", ["東", "京", "タ", "ワ", "ー", "2"]),
        ("fr", "Le chat d'or", ["le", "chat", "dor"]),
        ("ur", "ایک بلی۔", ["ایک", "بلی"]),
    ],
)
def test_words_by_language(lang: str, text: str, words: list[str]) -> None:
    assert normalise(text, lang) == words


def test_f1_counts_repeated_words() -> None:
    assert f1("New York, New York", "New York, New York", "en") == 1.0
    assert f1("new york", "new york new york", "en") == pytest.approx(2 / 3)
    assert f1("", "", "en") == 0.0
    assert exact_match("", "", "en") == 1.0
    assert best(f1, "cat", ["dog", "a cat"], "en") == 1.0
    assert best(f1, "cat", [], "en") != best(f1, "cat", [], "en")  # nan: no gold answer


@given(text, text, st.sampled_from(LANGUAGES))
def test_f1_by_definition(a: str, b: str, lang: str) -> None:
    words_a, words_b = normalise(a, lang), normalise(b, lang)
    shared = sum(min(words_a.count(w), words_b.count(w)) for w in set(words_a))
    expected = 2 * shared / (len(words_a) + len(words_b)) if shared else 0.0
    assert f1(a, b, lang) == pytest.approx(expected)
    assert f1(a, b, lang) == pytest.approx(f1(b, a, lang))
    assert exact_match(a, a, lang) == 1.0
    if exact_match(a, b, lang) and words_a:
        assert f1(a, b, lang) == 1.0
    assert not set("".join(words_a)) & set(string.punctuation)


@given(st.lists(st.integers(0, 4), max_size=8), st.lists(st.integers(0, 4), max_size=8))
def test_bag_f1_of_token_ids(a: list[int], b: list[int]) -> None:
    shared = sum((Counter(a) & Counter(b)).values())
    assert bag_f1(a, b) == pytest.approx(2 * shared / (len(a) + len(b)) if shared else 0.0)


def test_bad_data_is_named() -> None:
    with pytest.raises(InputError, match="no questions"):
        squad_scores({"data": []}, {}, "en")
    with pytest.raises(InputError, match="SQuAD layout"):
        squad_scores({"rows": []}, {}, "en")
    question = {"id": "q", "question": "?", "answers": []}
    data = {"data": [{"paragraphs": [{"context": "c", "qas": [question]}]}]}
    with pytest.raises(InputError, match="'q' has no gold answer"):
        squad_scores(data, {"q": "x"}, "en")
