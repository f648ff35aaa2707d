"""Naming a language, forcing one, and falling back on others."""

from collections import Counter

import pytest
import torch

import tiny
from langneurons.errors import InputError
from langneurons.evaluation import detect, force
from langneurons.evaluation.fallback import fallback, next_language
from langneurons.evaluation.forcing import UNSURE
from langneurons.identification import NeuronSet, Units
from langneurons.intervention import Intervention, intervene

pytest.importorskip("lingua")

LANGUAGES = ["en", "es", "hi", "zh"]
PROMPTS = ["el gato y", "la casa junto al", "un perro corre"]


@pytest.fixture(scope="module")
def lm():
    return tiny.lm("llama")


@pytest.fixture(scope="module")
def neurons():
    units = {"en": Units([0, 1], [1, 2]), "es": Units([0, 1], [5, 6]), "hi": Units([1], [9]),
             "zh": Units.empty()}  # fmt: skip
    return NeuronSet(units, (2, 48))


def test_languages_are_named():
    texts = ["The house stands on the hill.", "La casa está en la colina.", "घर पहाड़ी पर है।",
             "房子在山上。", "", "  "]  # fmt: skip
    assert detect(texts, LANGUAGES) == ["en", "es", "hi", "zh", UNSURE, UNSURE]
    with pytest.raises(InputError, match="lingua does not know the language 'qq'"):
        detect(texts, ["en", "qq"])


def test_forcing_writes_what_generation_under_hooks_writes(lm, neurons):
    what = [Intervention(neurons["es"]), Intervention(neurons["en"], 2.0)]
    table = force(lm, PROMPTS, LANGUAGES, what, max_new_tokens=6)
    for prompt, written in zip(PROMPTS, table["continuation"], strict=True):
        ids = torch.tensor([lm.tokenizer(prompt)["input_ids"]])
        with torch.no_grad(), intervene(lm, what):
            made = lm.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False
            )
        text = lm.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        assert written == text.partition("\n\n")[0].strip()
    assert list(table["language_detected"]) == detect(list(table["continuation"]), LANGUAGES)
    plain = force(lm, PROMPTS, LANGUAGES, None, max_new_tokens=6)
    assert list(plain["continuation"]) != list(table["continuation"])


def test_fallback_removes_one_language_after_another(lm, neurons):
    values = {"en": (-1.0, "set"), "es": (3.0, "set"), "hi": (0.0, "multiply")}
    table = fallback(
        lm, PROMPTS, "es", LANGUAGES, neurons, values, steps=5, controls={"random": 2}, seed=4,
        max_new_tokens=6,
    )  # fmt: skip
    own = table[table["kind"] == "own"]
    plain = force(lm, PROMPTS, LANGUAGES, None, max_new_tokens=6)
    assert list(own[own["step"] == 0]["continuation"]) == list(plain["continuation"])
    order = own["removed"].drop_duplicates().tolist()
    assert order[:2] == ["", "es"]
    assert len(order) == 4  # Chinese has no unit and cannot be removed
    for step, name in enumerate(order[1:], start=1):
        removed = name.split(", ")
        for kind, seed, found in [("own", 0, neurons), ("random", 4, neurons.random_like(4)),
                                  ("random", 5, neurons.random_like(5))]:  # fmt: skip
            done = [Intervention(found[lang], *values[lang]) for lang in removed]
            alone = force(lm, PROMPTS, LANGUAGES, done, max_new_tokens=6)
            rows = table[
                (table["step"] == step) & (table["kind"] == kind) & (table["seed"] == seed)
            ]
            assert list(rows["continuation"]) == list(alone["continuation"])
        if step < len(order) - 1:
            written = Counter(own[own["step"] == step]["language_detected"])
            left = [lang for lang in ("en", "es", "hi") if lang not in removed]
            most = max(written[lang] for lang in left)
            assert order[step + 1] == name + ", " + next(x for x in left if written[x] == most)


def test_what_comes_next():
    assert next_language(["en", "hi", "hi", "es"], ["es"], ["en", "es", "hi"]) == "hi"
    assert next_language([UNSURE, "es"], ["es"], ["en", "es", "hi"]) == "en"
    assert next_language(["hi"], ["en"], ["en"]) is None


def test_what_cannot_fall_back_is_one_line(lm, neurons):
    with pytest.raises(InputError, match="no unit for zh: choose a language that has some"):
        fallback(lm, PROMPTS, "zh", LANGUAGES, neurons)
    with pytest.raises(InputError, match="no prompt in es"):
        fallback(lm, [], "es", LANGUAGES, neurons)
    with pytest.raises(InputError, match="matched controls need statistics"):
        fallback(lm, PROMPTS, "es", LANGUAGES, neurons, controls={"matched": 1})
