"""Inputs are tokenised many at a time, and are what each is alone."""

import pytest

import tiny
from langneurons.data.tasks import NLIExample, QAExample, encode_examples, encoding, get_task
from langneurons.finetuning.examples import encode_items

WORDS = ["the", "cat", "and", "a", "dog", "run", "over", "the", "hill", "to", "her", "house"]


def examples(count: int) -> list[NLIExample]:
    return [
        NLIExample(
            id=str(n), group=str(n), premise=" ".join(WORDS[: n % 13 + 1]),
            hypothesis=WORDS[n % 7], label=n % 3,
        )
        for n in range(count)
    ]  # fmt: skip


def questions(count: int) -> list[QAExample]:
    return [
        QAExample(
            id=str(n), group=str(n), context=" ".join(WORDS * (n % 5)) + ".", question=WORDS[n % 7],
            answers=("x",), extra={"lang": "en"},
        )
        for n in range(count)
    ]  # fmt: skip


def alone(tokenizer: object, text: str) -> list[int]:
    """By definition: the ids of one text without an end token behind."""
    ids = tokenizer(text)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


class Ending:
    """A tokenizer that puts its end token behind every text."""

    def __init__(self) -> None:
        self._inner = tiny.tokenizer()
        self.eos_token_id, self.sep_token_id = self._inner.eos_token_id, None

    def __call__(self, text: object, add_special_tokens: bool = True) -> object:
        ids = self._inner(text, add_special_tokens=add_special_tokens)["input_ids"]
        end = [self.eos_token_id] * add_special_tokens
        many = [one + end for one in ids] if isinstance(text, list) else ids + end
        return {"input_ids": many}


@pytest.mark.parametrize("tokenizer", [tiny.tokenizer(), Ending()], ids=["plain", "ending"])
@pytest.mark.parametrize("at_once", [1, 4, 256])
def test_together_as_alone(tokenizer, at_once, monkeypatch) -> None:
    monkeypatch.setattr(encoding, "TEXTS_AT_ONCE", at_once)
    task = get_task("mini-qa")
    lengths = sorted(len(alone(tokenizer, "".join(task.parts(item)))) for item in questions(30))
    longest = lengths[15]
    found = encode_examples(task, questions(30), tokenizer, longest)
    for one, item in zip(found, questions(30), strict=True):
        whole = alone(tokenizer, "".join(task.parts(item)))
        if one.cut == 0:
            assert one.ids == whole
            continue
        before, context, after = task.parts(item)
        assert len(one.ids) <= longest < len(whole)
        assert one.ids == alone(tokenizer, before + context[: len(context) - one.cut] + after)
    assert {one.cut > 0 for one in found} == {True, False}
    assert encode_examples(task, [], tokenizer, longest) == []


def test_training_inputs_take_one_call_for_many() -> None:
    calls = []
    tokenizer = tiny.tokenizer()

    class Counting:
        eos_token_id = sep_token_id = None

        def __call__(self, text, **options):
            calls.append(text)
            return tokenizer(text, **options)

    items = encode_items(get_task("mini-nli"), examples(20), Counting(), max_length=400, pad=0)
    assert len(calls) == 1
    assert [item.label for item in items] == [n % 3 for n in range(20)]
