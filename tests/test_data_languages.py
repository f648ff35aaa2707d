"""One language under all its codes: readers, metrics and detectors take them for the same."""

import json

import pytest

from langneurons.data.languages import plain_code, same_language, script
from langneurons.data.tasks import get_task
from langneurons.data.tasks.quality import is_romanised
from langneurons.errors import InputError
from langneurons.evaluation.squad import f1, normalise
from langneurons.finetuning import get_recipe
from study_world import write_pairs

FORMS = {
    "en": ["en", "EN", "eng", "eng_Latn", "en-US", "en_GB", "eng-Latn"],
    "zh": ["zh", "zho", "zho_Hans", "zh-Hans", "zh-CN", "zh_CN", "cmn", "cmn_Hans", "chi"],
    "hi": ["hi", "hin", "hin_Deva", "hi-IN"],
    "ur": ["ur", "urd", "urd_Arab"],
    "ar": ["ar", "ara", "arb", "arb_Arab"],
    "sw": ["sw", "swa", "swh", "swh_Latn"],
    "ja": ["ja", "jpn", "jpn_Jpan"],
    "ko": ["ko", "kor", "kor_Hang"],
    "de": ["de", "deu", "ger", "deu_Latn"],
    "th": ["th", "tha_Thai"],
    "vi": ["vi", "vie", "vie_Latn"],
    "es": ["es", "spa", "spa_Latn", "es-419"],
    "fr": ["fr", "fra", "fre", "fra_Latn"],
}
PAIRS = [(form, code) for code, forms in FORMS.items() for form in forms]


@pytest.mark.parametrize(("form", "code"), PAIRS)
def test_every_form_is_the_language(form, code):
    assert plain_code(form) == code
    assert same_language(form, FORMS) == code
    assert same_language(code, [form]) == form


def test_what_is_not_the_same_stays_apart():
    assert same_language("zho_Hant", ["zh", "yue"]) is None
    assert same_language("yue_Hant", ["zh", "yue"]) == "yue"
    assert same_language("hi_Latn", ["hi"]) is None
    assert same_language("zh", ["zho_Hant", "zho_Hans"]) == "zho_Hans"
    for odd in ("my-corpus-of-news", "en.b", "x", "", "na"):
        assert plain_code(odd) in (odd, "my")
        assert same_language(odd, [odd]) == odd
    assert script("en.b") == ""


@pytest.mark.parametrize("form", FORMS["zh"] + ["zho_Hant"])
def test_chinese_is_parted_into_characters_under_every_code(form):
    assert normalise("一只猫", form) == ["一", "只", "猫"]
    assert f1("一只猫", "一只狗", form) == pytest.approx(f1("一只猫", "一只狗", "zh"))
    assert f1("一只猫", "一只狗", form) > 0.6


def test_romanised_text_is_known_under_every_code():
    assert is_romanised("yah ek vakya hai", "hin_Deva")
    assert not is_romanised("yah ek vakya hai", "hi_Latn")
    assert is_romanised("zhe shi yi ju hua", "zho_Hant")


def test_tasks_read_a_language_under_every_code(tmp_path):
    write_pairs(tmp_path / "test.en.tsv", "en")
    write_pairs(tmp_path / "test.spa_Latn.tsv", "es")
    task = get_task(f"xnli:{tmp_path}")
    rows = task.examples("en")
    for form in FORMS["en"]:
        assert task.examples(form) == rows
        assert task.verbalised(rows[0], form) == task.verbalised(rows[0], "en")
    assert len(task.examples("spa_Latn")) == len(rows)  # called so on disk
    with pytest.raises(InputError, match=r"test.*of 'de'"):
        task.examples("deu_Latn")
    with pytest.raises(InputError, match="xnli has no label words for 'xx_Latn'; known: ar, bg"):
        task.verbalised(rows[0], "xx_Latn")


def test_questions_of_a_language_under_every_code(tmp_path):
    question = {"id": "1", "question": "?", "answers": [{"text": "猫", "answer_start": 0}]}
    data = {"data": [{"paragraphs": [{"context": "猫和狗", "qas": [question]}]}]}
    (tmp_path / "xquad.zh.json").write_text(json.dumps(data))
    task = get_task(f"xquad:{tmp_path}")
    for form in FORMS["zh"]:
        assert [row.context for row in task.examples(form)] == ["猫和狗"]


def test_detection_answers_in_the_codes_it_was_given():
    pytest.importorskip("lingua")
    from langneurons.evaluation.forcing import detect

    texts = ["The cat sat on the mat all day.", "Le chat dort sur le canapé toute la journée."]
    assert detect(texts, ["eng_Latn", "fr-FR"]) == ["eng_Latn", "fr-FR"]
    with pytest.raises(InputError, match="lingua does not know the language 'xx'"):
        detect(texts, ["en", "xx"])


def test_one_projection_is_a_word():
    assert get_recipe(None, projections="up").projections == ("up",)
    assert get_recipe(None, projections="gate, down").projections == ("gate", "down")
    with pytest.raises(InputError, match="unknown projection 'u'"):
        get_recipe(None, projections="u")
