"""The words for values: one grammar for the command line, studies and Python."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.interface.spec import check_value, check_written
from langneurons.intervention import Intervention, Value, intervene
from langneurons.intervention.words import PARTS, SCOPES, SITES, WORDS, Written, parse
from langneurons.models import hook_site
from langneurons.statistics import collect

UNITS = Units([0, 1], [3, 7])


@pytest.fixture(scope="module")
def world():
    lm = tiny.lm("llama")
    texts = {"en": ["the cat and the dog"], "hi": ["dog dog and dog"]}
    made = {site: collect(lm, texts, site=site, block=16, rows=64) for site in SITES}
    return lm, made


@settings(deadline=None)
@given(
    name=st.sampled_from([*WORDS, "0", "1e-3", "-0.5", "x-2", "P2.5", "P100"]),
    language=st.sampled_from([None, "en", "zh-Hant"]),
    sites=st.lists(st.sampled_from(SITES), max_size=2),
    scope=st.sampled_from(["all", *SCOPES]),
)
def test_whatever_is_written_is_read_back(name, language, sites, scope):
    words = "@".join([name, *([language] if language else []), *sites])
    words += "" if scope == "all" else f"@{scope}"
    taken, written = [*sites, None, None][:2]
    whole = Written(name, language, taken, written, scope)
    if (language or taken) and not whole.is_statistic:
        with pytest.raises(InputError, match="only a statistic has a site or a language"):
            parse(words)
    else:
        assert parse(words) == whole


@pytest.mark.parametrize(
    "words",
    ["", "median", "P101", "x", "1.2.3", "nan", "inf", "mean@", "mean@en@hi", "mean@last@en",
     "P10@mlp.pre@mlp.act@mlp.pre", "zero@en", "mean@en@resid"],
)  # fmt: skip
def test_anything_else_is_one_line(words):
    with pytest.raises(InputError, match="value") as caught:
        parse(words)
    assert "\n" not in str(caught.value)


def test_the_examples_of_the_page_are_words():
    for words in (*WORDS, *PARTS):
        assert parse(words).name in words
        if parse(words).scope not in ("prompt", "generated"):
            assert check_written(words) == words
    with pytest.raises(ValueError, match="a study scores texts that are given"):
        check_written("zero@generated")


def held(lm, what):
    found = {}
    ids = torch.arange(3, 13).reshape(2, 5)
    with (
        torch.no_grad(),
        intervene(lm, what),
        hook_site(lm, "mlp.act", lambda layer, value: found.update({layer: value.clone()})),
    ):
        lm.model(input_ids=ids)
    return found


def test_python_takes_the_same_words(world):
    lm, stats = world
    acts = stats["mlp.act"]
    for words, same in (
        ("0", Intervention(UNITS)),
        ("zero", Intervention(UNITS)),
        ("-1", Intervention(UNITS, -1.0)),
        ("x0.5", Intervention(UNITS, 0.5, mode="multiply")),
        ("s-0.5", Intervention(UNITS, -0.5, mode="steer")),
        ("mean", Intervention(UNITS, Value.mean(acts, "hi"))),
        ("mean@en", Intervention(UNITS, Value.mean(acts, "en"))),
        ("maximum@last", Intervention(UNITS, Value.maximum(acts, "hi"), scope="last")),
        ("P90@en@rest", Intervention(UNITS, Value.quantile(acts, "en", 0.9), scope="rest")),
    ):
        made = Intervention.of(UNITS, words, acts, "hi")
        assert made.identity() == same.identity()
        assert made.name == words
        first, second = held(lm, made), held(lm, same)
        assert all(torch.equal(first[layer], second[layer]) for layer in first)


def test_a_value_of_the_site_before(world):
    _, stats = world
    pre = Value.mean(stats["mlp.pre"], "hi")
    crossed = Intervention.of(UNITS, "mean@mlp.pre", stats["mlp.pre"], "hi")
    assert crossed.site == "mlp.act"
    assert crossed.what.tensor.equal(pre.tensor)
    before = Intervention.of(UNITS, "mean@mlp.pre@mlp.pre", stats["mlp.pre"], "hi")
    assert before.site == "mlp.pre"
    with pytest.raises(InputError, match=r"is taken at 'mlp.pre', the statistics are of 'mlp.act'"):
        Intervention.of(UNITS, "mean@mlp.pre", stats["mlp.act"], "hi")


def test_what_a_statistic_needs(world):
    _, stats = world
    with pytest.raises(InputError, match="the value mean comes from statistics: give them"):
        Intervention.of(UNITS, "mean")
    with pytest.raises(InputError, match="is a language's: name it, such as P90@en"):
        Intervention.of(UNITS, "P90", stats["mlp.act"])
    assert Intervention.of(UNITS, "P90@hi", stats["mlp.act"]).name == "P90@hi"


def test_where_words_must_be_short():
    from langneurons.cli.inputs import value_of

    with pytest.raises(ValueError, match="give a value alone here, such as mean or P90"):
        check_value("mean@en")
    with pytest.raises(InputError, match="perplexity is of every token, leave out @last"):
        value_of("zero@last", None, "en")
    value, mode = value_of("x0.5", None, "en")
    assert (value.name, float(value.tensor), mode) == ("x0.5", 0.5, "multiply")
    value, mode = value_of("s2", None, "en")
    assert (value.name, float(value.tensor), mode) == ("s2", 2.0, "steer")
    assert value_of("0", None, "en")[0].name == "zero"
