"""Text is compared with the language it is given for."""

from __future__ import annotations

import copy
import warnings

import pytest

import tiny
from langneurons.data import expected, make_blocks
from langneurons.data.expected import Watched, warn_of_other_languages
from langneurons.evaluation import perplexity
from langneurons.models import LanguageModel
from langneurons.statistics import collect

HINDI = "यह एक छोटा सा वाक्य है जिसमें कई शब्द और अक्षर हैं"
ENGLISH = "this is a short sentence that has several words and letters"
GERMAN = "dies ist ein kurzer Satz mit mehreren Wörtern und vielen Buchstaben"
URDU = "یہ ایک چھوٹا سا جملہ ہے جس میں کئی الفاظ اور حروف ہیں"
CHINESE = "这是一个包含许多汉字的句子，它有好几个词语和标点符号以及别的东西"
JAPANESE = "これは短い文章であり、いくつかの単語と文字が含まれているものです"


def quiet(texts: list[str], lang: str, *others: str) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_other_languages(texts, lang, others)
    return not caught


@pytest.fixture
def without_lingua(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_lingua")
@pytest.mark.parametrize(
    ("lang", "own", "other"),
    [
        ("hi", HINDI, ENGLISH),
        ("hin_Deva", HINDI, URDU),
        ("ur", URDU, HINDI),
        ("en", ENGLISH, HINDI),
        ("zh", CHINESE, ENGLISH),
        ("ja", JAPANESE, ENGLISH),
        ("ru", "это короткое предложение, в котором несколько слов и букв", ENGLISH),
    ],
)
def test_another_script_is_told_by_its_letters(lang: str, own: str, other: str) -> None:
    assert quiet([own] * 20, lang)
    assert quiet([own] * 19 + [other], lang)  # a quotation
    with pytest.warns(UserWarning, match=f"4 of 20 documents .* text of '{lang}' .*letters"):
        warn_of_other_languages([own] * 16 + [other] * 4, lang)


@pytest.mark.usefixtures("without_lingua")
def test_what_is_no_code_or_too_short_is_not_judged() -> None:
    for name in ("xx", "my language", "l0", "a"):
        assert quiet([HINDI, ENGLISH], name)
    assert quiet(["Apple iPad 3"] * 9, "hi")
    assert quiet([GERMAN] * 9, "en")  # letters alone cannot tell


def test_lingua_tells_languages_of_one_script() -> None:
    pytest.importorskip("lingua")
    with pytest.warns(UserWarning, match="3 of 12 documents .*lingua"):
        warn_of_other_languages([GERMAN] * 9 + [ENGLISH] * 3, "de", ["fr"])
    assert quiet([GERMAN] * 9, "de", "fr", "hi")
    assert quiet([HINDI] * 9, "hi")
    assert quiet([GERMAN] * 9, "de", "xx")


def test_a_list_is_looked_at_throughout_and_a_stream_at_its_beginning() -> None:
    texts = [str(n) for n in range(1000)]
    listed, streamed = Watched(texts), Watched(iter(texts))
    assert list(listed) == list(streamed) == texts
    assert len(listed.seen) == len(streamed.seen) == expected.LOOKED_AT
    assert listed.seen[-1] == "995"
    assert streamed.seen[-1] == "199"
    assert list(Watched("one")) == ["one"]


@pytest.mark.usefixtures("without_lingua")
def test_collect_says_so() -> None:
    texts = {"hi": [HINDI, ENGLISH, HINDI], "ur": iter([URDU, URDU])}
    with pytest.warns(UserWarning, match="1 of 3 documents .* text of 'hi'") as caught:
        collect(tiny.lm(), texts, rows=0)
    assert not [item for item in caught if "'ur'" in str(item.message)]


def test_gemma_without_its_beginning_is_warned_of() -> None:
    lm = tiny.lm("gemma3")
    texts = [ENGLISH]
    with pytest.warns(UserWarning, match=r"trained with '<s>' .* set bos=True"):
        collect(lm, {"en": texts}, rows=0, bos=False)
    with pytest.warns(UserWarning, match="reads it far worse without"):
        collect(lm, {"en": make_blocks(texts, lm.tokenizer, bos=False)}, rows=0)
    bare = copy.deepcopy(lm.tokenizer)
    # What the tokenizer puts in front is asked of it; one made by hand puts nothing.
    with pytest.warns(UserWarning, match="far worse"):
        perplexity(LanguageModel(lm.model, bare, "bare"), texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collect(lm, {"en": texts}, rows=0, bos=True)
        collect(tiny.lm("llama"), {"en": texts}, rows=0, bos=False)
