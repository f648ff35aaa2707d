"""The steering protocol's pieces, each beside its definition in float64."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from langneurons.data import make_blocks
from langneurons.data.tasks import QAExample, get_task
from langneurons.errors import InputError
from langneurons.evaluation import steering
from langneurons.evaluation.translation import chrf
from langneurons.identification import find_directions
from langneurons.identification.directions import separation
from langneurons.identification.evidence import BalancedRows
from langneurons.intervention import Steering, intervene
from langneurons.models import hook_site
from langneurons.statistics import collect
from study_world import documents

SHARE = st.floats(0, 1)


@pytest.fixture(scope="module")
def lm():
    return tiny.lm("llama")


@pytest.fixture(scope="module")
def stats(lm):
    texts = {lang: documents(lang) for lang in ("en", "es", "hi")}
    return collect(lm, texts, site="resid", tokens=600, block=32, rows=64)


def steered(lm, stats, strength=1.0):
    done = Steering(find_directions(stats, source="en")["hi"], "add", strength, (0,))
    return partial(intervene, lm, [done])


@given(st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=5))
@settings(deadline=None)
def test_harmonic_mean_by_definition(pairs):
    found = steering.harmonic([a for a, _ in pairs], [b for _, b in pairs])
    for value, (a, b) in zip(found, pairs, strict=True):
        expected = 2 * a * b / (a + b) if a + b > 0 else 0.0
        assert value == pytest.approx(expected, abs=1e-12)


def test_summary_is_means_and_a_bootstrap_over_questions():
    rng = np.random.default_rng(3)
    forced, relevance = (rng.random(30) < 0.6).astype(float), rng.random(30)
    rows = pd.DataFrame({"forced": forced, "relevance": relevance, "chance": relevance / 2})
    found = steering.summary(rows, seed=1)
    assert (found["n"], found["forcing"]) == (30, forced.mean())
    assert found["chance"] == pytest.approx(relevance.mean() / 2)
    a, b = forced.mean(), relevance.mean()
    assert found["score"] == pytest.approx(2 * a * b / (a + b))
    # By hand: each draw takes forcing and relevance of the same questions.
    draws, scores = np.random.default_rng(1).integers(30, size=(steering.RESAMPLES, 30)), []
    for draw in draws:
        a, b = forced[draw].mean(), relevance[draw].mean()
        scores.append(2 * a * b / (a + b))
    assert found["score_low"] == pytest.approx(np.percentile(scores, 2.5))
    assert found["score_high"] == pytest.approx(np.percentile(scores, 97.5))
    assert 0 < found["forcing_low"] < found["forcing"] < found["forcing_high"] < 1
    unknown = steering.summary(rows.assign(relevance=math.nan))
    assert math.isnan(unknown["score"])
    assert math.isnan(unknown["score_low"])
    one = steering.summary(rows.head(1))
    assert math.isnan(one["score_low"])
    assert math.isnan(one["forcing_low"])


def test_answers_are_scored_by_language_and_reference():
    pytest.importorskip("lingua")
    texts = ["the cat runs over the hill", "el gato corre por la colina", ""]
    references = [["el perro corre"], ["el gato duerme", "el gato corre por la colina"], ["nada"]]
    found = steering.scored(texts, references, ["en", "es"], "es")
    assert found["language_detected"].tolist() == ["en", "es", "unsure"]
    assert found["forced"].tolist() == [0.0, 1.0, 0.0]
    assert found["relevance"].tolist() == pytest.approx(
        [chrf(texts[0], "el perro corre"), 1.0, 0.0]
    )
    # Chance: against the references of the next question, the last against the first's.
    assert found["chance"].tolist()[1] == chrf(texts[1], "nada")
    assert found["chance"].tolist()[0] == max(chrf(texts[0], text) for text in references[1])


def test_losses_of_answers_by_definition(lm, stats):
    applied = steered(lm, stats)
    prompts, answers = ["the cat", "the dog and"], ["runs", ""]
    found = steering.answer_losses(lm, prompts, answers, applied)
    whole = lm.tokenizer("the cat runs")["input_ids"]
    start = len(lm.tokenizer("the cat")["input_ids"])
    with torch.no_grad(), applied():
        logits = lm.model(input_ids=torch.tensor([whole])).logits[0].double()
    logged = logits.log_softmax(-1)
    expected = -np.mean([float(logged[n - 1, whole[n]]) for n in range(start, len(whole))])
    assert found[0] == pytest.approx(expected, rel=1e-5)
    assert math.isnan(found[1])
    untouched = steering.answer_losses(lm, prompts[:1], answers[:1])
    assert untouched[0] != pytest.approx(expected)


def test_displacement_by_definition_and_a_control_as_large(lm, stats):
    blocks = make_blocks(documents("en"), lm.tokenizer, block=32, tokens=96)
    seen = []

    def keep(_layer, activation):
        seen.append(activation[blocks.counted].double())

    for applied in (steering.contextlib.nullcontext, steered(lm, stats, 2.0)):
        with torch.no_grad(), applied(), hook_site(lm, "resid", keep, [lm.layers - 1]):
            lm.model(input_ids=blocks.input_ids, attention_mask=blocks.attention_mask)
    expected = float((seen[1] - seen[0]).square().sum(1).mean().sqrt())
    plain = steering.last_stream(lm, blocks)
    found = steering.displacement(lm, blocks, plain, steered(lm, stats, 2.0))
    assert found == pytest.approx(expected, rel=1e-4)
    drawn = find_directions(stats, source="en")["hi"].random_like(5)

    def moves(factor):
        done = Steering(drawn, "add", 2.0 * factor, (0,))
        return steering.displacement(lm, blocks, plain, partial(intervene, lm, [done]))

    factor = steering.as_large(moves, expected, 1.0)
    assert moves(factor) == pytest.approx(expected, rel=0.03)


@given(st.floats(0.1, 10))
@settings(deadline=None)
def test_the_factor_is_found_within_two_percent(wanted):
    assert steering.as_large(lambda x: x, wanted, 1.0) == pytest.approx(wanted, rel=0.025)


def test_a_prompt_is_the_users_turn_where_there_is_a_template(lm):
    class Chatty:
        chat_template = "there"

        def apply_chat_template(self, turns, tokenize, add_generation_prompt):
            assert (tokenize, add_generation_prompt) == (False, True)
            return f"<s>{turns[0]['role']}: {turns[0]['content']}\n"

        def __call__(self, text, add_special_tokens=True):
            return lm.tokenizer(text, add_special_tokens=add_special_tokens)

        def __getattr__(self, name):
            return getattr(lm.tokenizer, name)

    plain = lm.tokenizer("the cat")["input_ids"]
    wanted = lm.tokenizer("<s>user: the cat\n", add_special_tokens=False)["input_ids"]
    assert steering.prompt_ids(Chatty(), "the cat") == wanted
    assert steering.prompt_ids(Chatty(), "the cat", "never") == plain
    assert steering.prompt_ids(lm.tokenizer, "the cat") == plain


@pytest.fixture
def task(tmp_path):
    for lang, end in (("en", "?"), ("hi", "!")):
        (tmp_path / f"{lang}.txt").write_text("\n".join(f"q{n}{end}" for n in range(9)))
    (tmp_path / "es.txt").write_text("only one?")
    return get_task(f"clas:{tmp_path}")


def test_questions_are_parallel_and_dealt_apart(task):
    asked = steering.questions(task, "en", "hi")
    assert [(item.asked.question, item.target.question) for item in asked[:2]] == [
        ("q0?", "q0!"), ("q1?", "q1!"),
    ]  # fmt: skip
    assert [item.id for item in steering.questions(task, "en", "es")] == ["0"]
    choose, test = steering.dealt(asked, 3, 5, 1)
    ids = [item.id for item in (*choose, *test)]
    assert (len(choose), len(test), len(set(ids))) == (3, 5, 8)
    assert [item.id for item in steering.dealt(asked, 3, 5, 1)[1]] == ids[3:]
    assert [item.id for item in steering.dealt(asked, 3, 5, 2)[1]] != ids[3:]
    with pytest.raises(InputError, match=r"8 \+ 2 questions are asked for and 9 are there"):
        steering.dealt(asked, 8, 2, 0)
    with pytest.raises(InputError, match="mini-nli has no questions"):
        steering.questions(get_task("mini-nli"), "en", "hi")
    assert steering.asking(asked[0].asked, "hi").question == "q0? Respond in Hindi."


def test_one_question_of_each_group_counts():
    found = steering.questions(get_task("mini-qa"), "en", "hi")
    groups = [item.asked.group for item in found]
    assert len(groups) == len(set(groups)) > 50
    assert all(item.asked.id == item.target.id for item in found)


def test_languages_that_share_no_question_are_refused():
    class Apart:
        name, kind = "apart", "qa"

        def examples(self, lang, split):
            return [QAExample(id=lang, group="0", context="", question="?", answers=())]

    with pytest.raises(InputError, match="'en' and 'hi' share no question"):
        steering.questions(Apart(), "en", "hi")


def test_how_far_a_direction_tells_languages_apart_by_definition(stats):
    direction = find_directions(stats, source="en")["hi"]
    found = separation(stats, direction, "hi", "en")
    rows = BalancedRows(stats)
    for layer in range(len(found)):
        unit = direction.vector[layer].double()
        unit = unit / unit.norm()
        own, other = (rows.layer(lang, layer).double() @ unit for lang in ("hi", "en"))
        within = torch.cat([own - own.mean(), other - other.mean()]).square().mean().sqrt()
        assert float(found[layer]) == pytest.approx(float((own.mean() - other.mean()) / within))
        assert float(found[layer]) > 0
