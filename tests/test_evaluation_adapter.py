"""Evaluation with adapters from fine-tuning: head and answers, by path, object and loaded model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
from langneurons.data.tasks import Example, NLIExample, QAExample, encode_example, get_task
from langneurons.errors import InputError
from langneurons.evaluation import evaluate
from langneurons.evaluation.qa import Generated, cut_answer, qa_row
from langneurons.finetuning import finetune, load_adapter
from langneurons.finetuning.examples import encode_items
from langneurons.identification import Units
from langneurons.intervention import Intervention
from test_evaluation_runs import WORDS, Pairs, Questions, sentence


class Learnable(Pairs):
    """The label is told by the hypothesis' first word."""

    name = "learnable"

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        rows = []
        for i in range(24):
            word = WORDS[i % 3]
            rows.append(NLIExample(str(i), str(i // 3), sentence(i, 2), f"{word} x", i % 3))
        return rows


class LearnableQuestions(Questions):
    """The answer is always the same word."""

    name = "learnable-questions"

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        return [QAExample(str(i), str(i), sentence(i, 2), "what?", ("dog",)) for i in range(12)]


def test_a_classification_adapter_is_scored_by_its_head(tmp_path: Path) -> None:
    lm, task = tiny.lm("llama"), Learnable()
    before = evaluate(lm, task)
    adapter = finetune(
        lm, task, lang="en", neurons="all", output=tmp_path / "a", steps=60, batch_size=12,
        learning_rate=1e-2,
    )  # fmt: skip
    by_path = evaluate(lm, task, adapter=tmp_path / "a")
    by_object = evaluate(lm, task, adapter=adapter)
    loaded = evaluate(load_adapter(lm, tmp_path / "a"), task)
    assert before.details["method"] == "likelihood"
    assert by_path.details["method"] == "head"
    assert by_path.value() > 80
    for other in (by_object, loaded):
        assert other.rows["log_likelihoods"].tolist() == by_path.rows["log_likelihoods"].tolist()
    assert by_path.details["adapter"] == by_object.details["adapter"] != before.details["adapter"]
    # The model itself is as it was, and an intervention reaches the adapted one.
    again = evaluate(lm, task)
    assert again.rows["log_likelihoods"].tolist() == before.rows["log_likelihoods"].tolist()
    units = Units([0] * 40 + [1] * 40, [*range(40), *range(40)])
    touched = evaluate(lm, task, adapter=adapter, intervention=Intervention(units, 5.0))
    assert touched.rows["log_likelihoods"].tolist() != by_path.rows["log_likelihoods"].tolist()


def test_an_adapter_for_answers_generates_them(tmp_path: Path) -> None:
    lm, task = tiny.lm("llama"), LearnableQuestions()
    finetune(
        lm, task, lang="en", neurons="all", output=tmp_path / "a", steps=60, batch_size=12,
        learning_rate=1e-2,
    )  # fmt: skip
    found = evaluate(lm, task, adapter=tmp_path / "a")
    assert found.value("exact_match") == 100.0
    assert found.rows["stopped"].all()
    assert (found.rows["exact_match_ids"] == 1.0).all()
    assert evaluate(lm, task).value("exact_match") < 100.0


def test_an_adapter_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter"):
        evaluate(tiny.lm("llama"), Learnable(), adapter=tmp_path / "nothing")


class Marked:
    """A tokenizer that marks the beginning of a text read alone, as SentencePiece does."""

    eos_token, eos_token_id, sep_token_id = "</s>", 2, None

    def __call__(self, text: str | list[str], add_special_tokens: bool = True) -> dict[str, list]:
        if isinstance(text, list):
            return {"input_ids": [self(one)["input_ids"] for one in text]}
        words = [ord(sign) for sign in text]
        return {"input_ids": [9601, *words] if text and not text.startswith(" ") else words}

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return "".join(chr(number) for number in ids if number != 9601)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
@pytest.mark.parametrize("lang", ["en", "es", "fr", "vi", "hi", "ur", "zh"])
@pytest.mark.parametrize("tokenizer", [tiny.tokenizer(), Marked()], ids=["bytes", "marked"])
def test_a_perfect_answer_scores_100(lang: str, protocol: str, tokenizer: Any) -> None:
    """What a model is trained to write is right, in whatever way the language parts words."""
    exact, part = ("exact_match", "f1") if protocol == "strict" else ("exact_match_ids", "f1_ids")
    for task in (get_task("mini-qa", sizes={"test": 8}), Spaced()):
        for example in task.examples(lang):
            prompt = encode_example(task, example, tokenizer)
            (item,) = encode_items(task, [example], tokenizer, max_length=10_000, pad=0)
            written = cut_answer(tokenizer, item.ids[item.label :], task.stop, frozenset({2}))
            row = qa_row(tokenizer, task, example, prompt, written, lang)
            assert (row[exact], row[part]) == (1.0, 1.0)
            wrong = Generated("x", (5, 6), True)
            assert qa_row(tokenizer, task, example, prompt, wrong, lang)[exact] == 0.0


class Spaced(Questions):
    """Answers with figures, a full stop, and a stop text that a tokenizer may join to it."""

    languages = ("en", "es", "fr", "vi", "hi", "ur", "zh")

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        texts = ("2008", "the cat.", "中文", "हिन्दी भाषा", "é 12 %")
        return [QAExample(str(n), str(n), "a b", "c?", (text,)) for n, text in enumerate(texts)]
