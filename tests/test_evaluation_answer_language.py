"""Right answers in the wrong language are told from wrong ones."""

import math

import pandas as pd
import pytest

from langneurons.data.tasks.quality import latin_share
from langneurons.errors import InputError
from langneurons.evaluation import Scores, answer_language, compare

ENGLISH = {"a": ["28 February 2008"], "b": ["the vice president", "president"], "c": ["two"]}


def answered(*predictions):
    rows = pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "group": ["1", "1", "2", "2"],
            "prediction": list(predictions),
            "gold": [["28 फरवरी 2008"], ["उपराष्ट्रपति"], ["दो"], ["2008"]],
            "exact_match": 0.0,
            "f1": [0.0, 0.0, 0.0, 1.0],  # only the figures are right in Hindi
        }
    )
    return Scores("xquad", "hi", ("exact_match", "f1"), rows)


def test_answers_in_english_are_found_by_their_parallel_gold_answers():
    found = answer_language(
        answered("28 February 2008", "vice president", "तीन", "2008"), ENGLISH, "en"
    )
    assert found.metrics == ("f1", "f1_en", "f1_either", "latin", "own_script")
    assert found.rows["f1_either"].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert found.value("f1") == 25.0
    each = found.rows["f1_en"].tolist()
    assert each[:3] == [1.0, 1.0, 0.0]
    assert math.isnan(each[3])  # its English answer is not known
    assert found.value("f1_en") == pytest.approx(200 / 3)
    assert found.rows["latin"].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert found.rows["own_script"].tolist() == [0.0, 0.0, 1.0, 0.0]  # figures are in neither


def test_the_change_of_language_is_a_comparison_like_any():
    plain = answer_language(answered("28 फरवरी 2008", "उपराष्ट्रपति", "दो", "2008"), ENGLISH, "en")
    touched = answer_language(answered("28 February 2008", "vice", "two", "2008"), ENGLISH, "en")
    change = compare(touched, plain, metric="latin")
    assert change.difference == 75.0
    assert compare(touched, plain, metric="f1_en").n == 3


def test_a_language_in_latin_letters_has_no_other_script():
    scores = answered("one", "two", "three", "four")
    scores.lang = "es"
    assert answer_language(scores, ENGLISH, "en").metrics == ("f1", "f1_en", "f1_either")


@pytest.mark.parametrize(
    ("text", "share"),
    [("été", 1.0), ("28 फरवरी", 0.0), ("दो two", 0.75), ("2008", None), ("", None)],
)
def test_letters_are_told_by_their_script(text, share):
    assert latin_share(text) == share


def test_answers_to_other_questions_are_refused():
    with pytest.raises(InputError, match="none of the 4 questions of xquad has an answer in 'en'"):
        answer_language(answered("a", "b", "c", "d"), {"z": ["a"]}, "en")


def test_a_text_is_not_taken_for_a_list_of_letters():
    with pytest.raises(InputError, match="a list of texts is wanted"):
        answer_language(answered("a", "b", "c", "d"), {"a": "two"}, "en")


def test_scores_without_answers_are_refused():
    rows = pd.DataFrame({"id": ["a"], "group": ["1"], "prediction": ["x"], "gold": ["x"],
                         "correct": [1.0]})  # fmt: skip
    with pytest.raises(InputError, match="xnli has no answers"):
        answer_language(Scores("xnli", "hi", ("accuracy",), rows), {}, "en")
