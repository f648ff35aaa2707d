"""Generated answers: batched, length-sorted, cached greedy decoding, scored officially."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from langneurons.data.tasks import QAExample, encode_answer, encode_examples, pad_id, with_end
from langneurons.errors import InputError
from langneurons.evaluation.batching import BATCH_TOKENS, sequence_batches
from langneurons.evaluation.rows import max_positions
from langneurons.evaluation.squad import bag_f1, best, exact_match, f1
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.data.tasks import Encoded, Example, Task
    from langneurons.models import LanguageModel
    from langneurons.progress import Bar

MAX_NEW_TOKENS = 48
"""Longest answer in tokens where the task or the caller does not say."""


@dataclass(frozen=True)
class Generated:
    """One generated answer.

    Attributes:
        text: The answer up to the stop, without surrounding white space.
        ids: Its token ids, the stop left out where it is a token of its own.
        stopped: Whether the model itself ended it.
    """

    text: str
    ids: tuple[int, ...]
    stopped: bool


class StopAt(StoppingCriteria):
    """Ends a sequence once its generated part holds the stop text; looks at the last tokens only.

    Args:
        tokenizer: Decodes tokens.
        stop: The text.
        start: Position at which generation begins.
    """

    def __init__(self, tokenizer: Any, stop: str, start: int) -> None:
        self._tokenizer, self._stop, self._start = tokenizer, stop, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """Bool (batch,): which sequences are done."""
        tail = input_ids[:, max(self._start, input_ids.shape[1] - len(self._stop) - 1) :]
        texts = self._tokenizer.batch_decode(tail, clean_up_tokenization_spaces=False)
        done = [self._stop in text for text in texts]
        return torch.tensor(done, device=input_ids.device)


def generate(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    stop: str = "\n",
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int | None = None,
    bar: Bar | None = None,
) -> list[Generated]:
    """Greedy continuations of prompts, without any penalty or sampling.

    Args:
        lm: A causal model.
        prompts: Token ids.
        stop: Text that ends an answer.
        max_new_tokens: Most tokens generated.
        batch_size: Prompts in a batch; None goes by the number of tokens.
        bar: Progress, advanced by prompts.

    Raises:
        InputError: If the model cannot generate.
    """
    model = lm.model
    if not hasattr(plain_model(model), "generate"):
        raise InputError(f"{type(model).__name__} cannot generate: answers need a causal model.")
    pad = pad_id(lm.tokenizer)
    ends = [*_end_ids(lm)]
    ends += [end for end in _ends_of(lm.tokenizer, stop) if end not in ends]
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=max_new_tokens,
        min_new_tokens=0,
        pad_token_id=pad,
        eos_token_id=ends or None,
        use_cache=True,
        cache_implementation=_cache(model),
        disable_compile=True,
    )
    answers: dict[int, Generated] = {}
    for batch in sequence_batches(
        prompts,
        pad=pad,
        side="left",
        batch_size=batch_size,
        batch_tokens=BATCH_TOKENS,
    ):
        on_device = batch.to(lm.device)
        start = on_device.input_ids.shape[1]
        with torch.no_grad():
            output = model.generate(
                input_ids=on_device.input_ids,
                attention_mask=on_device.attention_mask,
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([StopAt(lm.tokenizer, stop, start)]),
            )
        for place, row in zip(batch.index.tolist(), output[:, start:].tolist(), strict=True):
            answers[place] = cut_answer(lm.tokenizer, row, stop, frozenset(ends))
        if bar is not None:
            bar.advance(len(batch.index))
    return [answers[place] for place in range(len(prompts))]


def _cache(model: Any) -> str | None:
    """A cache of the final length, written in place, instead of one copied at every token.

    Falcon with ALiBi cannot use it (Transformers 5.24): None is the growing cache.
    """
    own = plain_model(model).config
    return None if getattr(own, "alibi", False) else "static"


def _end_ids(lm: LanguageModel) -> list[int]:
    own = getattr(plain_model(lm.model).generation_config, "eos_token_id", None)
    found = own if own is not None else lm.tokenizer.eos_token_id
    if found is None:
        return []
    return [int(token) for token in (found if isinstance(found, (list, tuple)) else [found])]


def _ends_of(tokenizer: Any, stop: str) -> frozenset[int]:
    """The end token's id where it is what ends an answer, else nothing."""
    return frozenset({int(tokenizer.eos_token_id)}) if stop == tokenizer.eos_token else frozenset()


def cut_answer(tokenizer: Any, ids: Sequence[int], stop: str, ends: frozenset[int]) -> Generated:
    """An answer from generated ids: what stands before an end token and before the stop text."""
    end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    kept = list(ids[:end])
    text = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    before, found, _ = text.partition(stop)
    if found:
        low = 0
        while low < len(kept) and stop not in tokenizer.decode(kept[: low + 1]):
            low += 1
        kept = kept[:low]
    return Generated(before.strip(), tuple(kept), bool(found) or end < len(ids))


def answers(
    lm: LanguageModel,
    task: Task,
    examples: Sequence[Example],
    *,
    batch_size: int | None,
    max_new_tokens: int | None,
    bar: Bar,
) -> list[tuple[Generated, Encoded]]:
    """What the model writes for each example, and the prompt it was given.

    Raises:
        InputError: If ``max_new_tokens`` leaves no room for the prompt.
    """
    new = max_new_tokens or task.max_answer_tokens or MAX_NEW_TOKENS
    longest = max_positions(lm)
    if longest is not None and longest <= new:
        raise InputError(
            f"max_new_tokens={new} leaves no room for a prompt in the model's {longest} positions: "
            "lower it."
        )
    room = None if longest is None else longest - new
    encoded = encode_examples(task, examples, lm.tokenizer, room)
    written = generate(
        lm,
        [item.ids for item in encoded],
        stop=with_end(lm.tokenizer, task.stop),
        max_new_tokens=new,
        batch_size=batch_size,
        bar=bar,
    )
    return list(zip(written, encoded, strict=True))


def qa_rows(
    lm: LanguageModel,
    task: Task,
    lang: str,
    examples: Sequence[Example],
    *,
    batch_size: int | None,
    max_new_tokens: int | None,
    bar: Bar,
) -> list[dict[str, Any]]:
    """Rows of :class:`~langneurons.evaluation.scores.Scores` from generated answers.

    Beside the official metrics, ``exact_match_ids`` and ``f1_ids`` compare token ids with the
    first gold answer, as the paper's released code does.

    Raises:
        InputError: See :func:`answers`.
    """
    written = answers(
        lm, task, examples, batch_size=batch_size, max_new_tokens=max_new_tokens, bar=bar
    )
    return [
        qa_row(lm.tokenizer, task, example, prompt, answer, lang)
        for example, (answer, prompt) in zip(examples, written, strict=True)
    ]


def qa_row(
    tokenizer: Any, task: Task, example: Example, prompt: Encoded, answer: Generated, lang: str
) -> dict[str, Any]:
    """The row of one answer.

    Args:
        tokenizer: The model's.
        task: The task.
        example: A question.
        prompt: What the model was given.
        answer: What it wrote.
        lang: Language whose rules of F1 apply.
    """
    assert isinstance(example, QAExample)
    first: list[int] | None = None
    if example.answers:
        # The ids a model has that writes what it was trained to write, cut as its answers are.
        gold = encode_answer(task, example, tokenizer, prompt)
        stop = with_end(tokenizer, task.stop)
        first = list(cut_answer(tokenizer, gold, stop, _ends_of(tokenizer, stop)).ids)
    return {
        "id": example.id,
        "group": example.group,
        "prediction": answer.text,
        "gold": list(example.answers),
        "exact_match": best(exact_match, answer.text, example.answers, lang),
        "f1": best(f1, answer.text, example.answers, lang),
        "exact_match_ids": math.nan if first is None else float(list(answer.ids) == first),
        "f1_ids": math.nan if first is None else bag_f1(answer.ids, first),
        "stopped": answer.stopped,
        "cut": prompt.cut,
        **{key: value for key, value in example.extra.items() if key != "lang"},
    }
