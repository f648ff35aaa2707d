"""A study narrowed to some of its languages runs without what names the others, and says so."""

import itertools
import warnings

import pytest

from langneurons.config.loading import load, load_series
from langneurons.config.narrowing import narrow
from langneurons.errors import InputError
from langneurons.study import presets


def narrowed(preset, languages):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = load_series(preset, (), {"languages": list(languages)})
    return found, [str(item.message) for item in heard]


def words_of(value):
    """Every word in a part of a study that may be a language, names of its many and keys too."""
    if isinstance(value, dict):
        return {str(key) for key in value} | {
            word for item in value.values() for word in words_of(item)
        }
    if isinstance(value, (list, tuple)):
        return {word for item in value for word in words_of(item)}
    text = str(value)
    return {text, text.rpartition(":")[2], text.rpartition("@")[2]}


@pytest.mark.parametrize("preset", presets())
def test_every_preset_can_be_narrowed_to_pairs_of_its_languages(preset):
    full = next(iter(load_series(preset).values()))
    others = [lang for lang in full.languages if lang != full.train_language]
    pairs = [(full.train_language, lang) for lang in others][:4]
    if full.train_language not in full.languages or len(full.languages) < 3:
        pairs = list(itertools.combinations(full.languages, 2))[:1]
    for pair in pairs:
        found, said = narrowed(preset, pair)
        gone = set(full.languages) - set(pair)
        for config in found.values():
            assert config.languages == list(pair)
            about = config.model_dump(
                exclude={"languages", "text", "budgets", "name", "language_sets", "model"}
            )
            assert not words_of(about) & gone, (preset, pair)
        assert len(set(said)) <= len(found)
        for line in said:
            assert line.startswith(f"without {', '.join(sorted(gone))} the study is run without ")


def test_mini_in_two_languages():
    found, said = narrowed("mini", ["en", "hi"])
    config = found[""]
    assert list(config.neurons) == ["lape", "activation-probability"]
    assert list(config.adapters) == ["none", "target:hi", "english", "english+target:hi", "random"]
    assert said == ["without es, fr, ur, vi, zh the study is run without neurons.lape-en-hi-ur."]
    found, said = narrowed("mini", ["en", "ur"])
    assert list(found[""].adapters) == ["none", "english"]
    assert "adapters.target:hi, adapters.english+target:hi, adapters.random" in said[0]


def test_lists_lose_entries_and_parts_go_with_the_last():
    study = {
        "languages": ["en", "hi"],
        "neurons": {"a": {"languages": ["en", "ur"]}, "b": {"derive": "a"}, "c": {}},
        "tasks": {"t": {"languages": ["hi", "ur"]}, "u": {"languages": ["ur"]}},
        "adapters": {"x": {"neurons": ["c:en", "a:en"]}, "y": {"neurons": "random:c:ur"},
                     "z": {"neurons": "none", "hold": {"neurons": "matched:b:en"}}, "w": {}},
        "perplexity": {"neurons": ["a", "c"], "languages": ["ur", "en"]},
        "interventions": {"neurons": ["c"], "adapter": ["x", "w"],
                          "values": ["mean@ur", "mean@ur@last", "P10@ur@mlp.pre", "zero"]},
        "sweep": {"neurons": "b", "languages": ["en"]},
        "forcing": {"neurons": "c", "pairs": [["en", "ur"], ["en", "hi"]]},
        "fallback": {"starts": ["ur"]},
        "polysemanticity": {"neurons": "c", "languages": ["en"], "task": "u"},
        "subspaces": {"s": {"moves": [["ur", "en"]]}},
        "text": {"en": "a", "hi": "b", "ur": "c"},
    }  # fmt: skip
    with pytest.warns(
        UserWarning, match="without ur the study is run without neurons.a, neurons.b"
    ):
        found = narrow(study, ["en", "hi", "ur"])
    assert found == {
        "languages": ["en", "hi"],
        "neurons": {"c": {}},
        "tasks": {"t": {"languages": ["hi"]}},
        "adapters": {"w": {}},
        "perplexity": {"neurons": ["c"], "languages": ["en"]},
        "interventions": {"neurons": ["c"], "adapter": ["w"], "values": ["zero"]},
        "forcing": {"neurons": "c", "pairs": [["en", "hi"]]},
        "subspaces": {"s": {"moves": []}},
        "text": {"en": "a", "hi": "b", "ur": "c"},
    }


def test_nothing_is_left_out_where_no_language_is():
    study = {"languages": ["en", "xx"], "perplexity": {"languages": ["yy"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert narrow(study, ["en"]) == study
        assert narrow({"languages": None}, ["en"]) == {"languages": None}
        assert load("mini").languages[:2] == ["en", "es"]
    # A slip in a file is still an error.
    with pytest.raises(InputError, match="yy"):
        load("mini", ["perplexity.languages=[yy]"], {"languages": ["en", "hi"]})
