"""How well a model is made to answer in another language: forced, relevant, and at which cost.

CLaS-Bench (arXiv 2601.08331) scores an answer twice: whether it is in the target language, and how
relevant it is, and takes the harmonic mean of the two means. Relevance is a judge model's verdict
there; here it is chrF++ against a reference, so that no other model is needed: levels are not
comparable with theirs, differences between ways of steering are what the table is for.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from langneurons.data import Blocks, batches
from langneurons.data.tasks import QAExample, Task, encode_text, with_end
from langneurons.data.tasks.clas import language_name
from langneurons.errors import InputError
from langneurons.evaluation.forcing import detect
from langneurons.evaluation.intervals import RESAMPLES, share_interval
from langneurons.evaluation.likelihood import continuation_scores, encode_continuation
from langneurons.evaluation.qa import generate
from langneurons.evaluation.residual import streams
from langneurons.evaluation.rows import max_positions
from langneurons.evaluation.token_loss import Head
from langneurons.evaluation.translation import chrf

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

Applied = Callable[[], contextlib.AbstractContextManager[object]]
"""Makes a block in which the model is steered."""

Chat = Literal["auto", "never"]


@dataclass(frozen=True)
class Question:
    """A question in two languages.

    Attributes:
        id: The same in both.
        asked: In the language of the prompts.
        target: In the language that answers are to be in.
    """

    id: str
    asked: QAExample
    target: QAExample


def questions(task: Task, source: str, target: str, split: str = "test") -> list[Question]:
    """Questions that both languages have, the first of each group, in the order of the data.

    One of a group (paragraph), so that questions are independent of each other.

    Raises:
        InputError: If the task has no questions, or the languages share none.
    """
    if task.kind != "qa":
        raise InputError(f"{task.name} has no questions: take a task such as clas or xquad.")
    there = {item.id: item for item in task.examples(target, split)}
    found: dict[str, Question] = {}
    for item in task.examples(source, split):
        other = there.get(item.id)
        if other is not None and item.group not in found:
            assert isinstance(item, QAExample)
            assert isinstance(other, QAExample)
            found[item.group] = Question(item.id, item, other)
    if not found:
        raise InputError(
            f"{task.name}: {source!r} and {target!r} share no question: give parallel data."
        )
    return list(found.values())


def dealt(
    items: Sequence[Question], choose: int, test: int, seed: int
) -> tuple[list[Question], list[Question]]:
    """Questions to choose a strength on and others to test it on, drawn at random.

    Raises:
        InputError: If there are not so many.
    """
    if len(items) < choose + test:
        raise InputError(
            f"{choose} + {test} questions are asked for and {len(items)} are there: lower one."
        )
    order = np.random.default_rng(seed).permutation(len(items))
    picked = [items[place] for place in order[: choose + test].tolist()]
    return picked[:choose], picked[choose:]


def asking(example: QAExample, language: str) -> QAExample:
    """The question with the request to answer in a language behind it, as CLaS-Bench has it."""
    name = language_name(language)
    return replace(example, question=f"{example.question} Respond in {name}.")


def prompt_ids(tokenizer: Any, text: str, chat: Chat = "auto") -> list[int]:
    """Token ids of a prompt; of a model with a chat template as the user's turn.

    Args:
        tokenizer: A tokenizer of Transformers.
        text: The prompt.
        chat: ``auto``: by the template where there is one; ``never``: as text to be continued.
    """
    if chat == "never" or not getattr(tokenizer, "chat_template", None):
        return encode_text(tokenizer, text)
    turns = [{"role": "user", "content": text}]
    written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(written, add_special_tokens=False)["input_ids"]
    return ids


def written(
    lm: LanguageModel,
    prompts: Sequence[str],
    applied: Applied = contextlib.nullcontext,
    *,
    max_new_tokens: int,
    chat: Chat = "auto",
    stop: str = "\n\n",
) -> list[str]:
    """Greedy continuations under steering.

    Args:
        lm: A causal model.
        prompts: The prompts.
        applied: Makes the block in which the model is steered; by default it is not.
        max_new_tokens: Most tokens of each.
        chat: See :func:`prompt_ids`.
        stop: Text that ends one.
    """
    ids = [prompt_ids(lm.tokenizer, prompt, chat) for prompt in prompts]
    with applied():
        found = generate(lm, ids, stop=with_end(lm.tokenizer, stop), max_new_tokens=max_new_tokens)
    return [item.text for item in found]


def answer_losses(
    lm: LanguageModel,
    prompts: Sequence[str],
    answers: Sequence[str],
    applied: Applied = contextlib.nullcontext,
    *,
    head: Head | None = None,
) -> NDArray[np.float64]:
    """-ln P of an answer after its prompt under steering, nats a token, float64 (prompts,).

    Args:
        lm: A causal model.
        prompts: The prompts, read as text (no chat template).
        answers: What is to follow; an empty one is nan.
        applied: See :func:`written`.
        head: The model's head, where it has been found.
    """
    known = [place for place, answer in enumerate(answers) if answer]
    longest = max_positions(lm)
    items = [
        encode_continuation(lm.tokenizer, prompts[place], f" {answers[place]}", longest)
        for place in known
    ]
    found = np.full(len(answers), math.nan)
    if items:
        with applied():
            scores = continuation_scores(lm, items, head=head)
        found[known] = -scores / np.array([item.scored for item in items])
    return found


def scored(
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    languages: Sequence[str],
    target: str,
) -> pd.DataFrame:
    """Whether answers are in the target language, and how near they come to a reference.

    Args:
        texts: The answers.
        references: Of each answer what it is held against: the best counts.
        languages: Codes the detector chooses from.
        target: The target language.

    Returns:
        One row an answer: ``answer``, ``language_detected``, ``forced`` (0 or 1), ``relevance``
        (chrF++, 0 to 1) and ``chance``, the same against the references of the next question:
        what any text in that language would get.
    """
    found = detect(texts, languages)

    def best(text: str, place: int) -> float:
        given = references[place % len(references)]
        return max((chrf(text, item) for item in given if item), default=math.nan)

    several = len(texts) > 1
    return pd.DataFrame(
        {
            "answer": list(texts),
            "language_detected": found,
            "forced": [float(name == target) for name in found],
            "relevance": [best(text, place) for place, text in enumerate(texts)],
            "chance": [
                best(text, place + 1) if several else math.nan for place, text in enumerate(texts)
            ],
        }
    )


def harmonic(forcing: ArrayLike, relevance: ArrayLike) -> NDArray[np.float64]:
    """Harmonic mean of two shares, 0 where both are."""
    a, b = np.asarray(forcing, dtype=np.float64), np.asarray(relevance, dtype=np.float64)
    total = a + b
    return np.asarray(np.where(total > 0, 2 * a * b / np.where(total > 0, total, 1), total * 0))


def summary(rows: pd.DataFrame, *, seed: int = 0, level: float = 0.95) -> dict[str, float | int]:
    """Means of one way over questions, with intervals over them.

    Args:
        rows: What :func:`scored` gives, perhaps of several targets.
        seed: Of the bootstrap.
        level: Of the intervals.

    Returns:
        ``n``; ``forcing`` with Wilson's interval; ``relevance`` and ``score``, the harmonic mean of
        the two means, with percentile intervals of a bootstrap over questions; ``chance``.
    """
    forced = rows["forced"].to_numpy(dtype=np.float64)
    relevance = rows["relevance"].to_numpy(dtype=np.float64)
    low, high = share_interval(forced, level=level)
    found: dict[str, float | int] = {
        "n": len(rows),
        "forcing": float(forced.mean()),
        "forcing_low": low,
        "forcing_high": high,
        "relevance": float(relevance.mean()),
        "chance": float(rows["chance"].mean()),
        "score": float(harmonic(forced.mean(), relevance.mean())),
    }
    draws = np.random.default_rng(seed).integers(len(rows), size=(RESAMPLES, len(rows)))
    ends = (100 * (1 - level) / 2, 100 * (1 + level) / 2)
    means = relevance[draws].mean(1)
    for name, values in (("relevance", means), ("score", harmonic(forced[draws].mean(1), means))):
        known = len(rows) > 1 and not np.isnan(values).any()
        low, high = np.percentile(values, ends) if known else (math.nan, math.nan)
        found |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def last_stream(lm: LanguageModel, blocks: Blocks) -> Tensor:
    """The stream behind the last layer at every counted token, float32 (tokens, hidden)."""
    parts = batches(blocks, batch_tokens=1024)
    return torch.cat([streams(lm, batch)[-1] for batch in parts])


def displacement(lm: LanguageModel, blocks: Blocks, plain: Tensor, applied: Applied) -> float:
    """How far steering moves the stream behind the last layer: root mean square over tokens.

    Args:
        lm: The model.
        blocks: Text.
        plain: What :func:`last_stream` gives without steering.
        applied: See :func:`written`.
    """
    with applied():
        touched = last_stream(lm, blocks)
    return float((touched.double() - plain.double()).square().sum(1).mean().sqrt())


def as_large(
    moves: Callable[[float], float], wanted: float, start: float, *, steps: int = 7
) -> float:
    """The factor of a control with which it moves the stream as far as what it is held against.

    Found by halving in the logarithm, within a 16th and 16 times ``start``; 7 halvings leave 2 %.

    Args:
        moves: Factor to how far the stream is moved, growing.
        wanted: How far it is to be moved.
        start: Where the search begins, above 0.
        steps: Halvings.
    """
    low, high = math.log(start / 16), math.log(start * 16)
    for _ in range(steps):
        middle = (low + high) / 2
        if moves(math.exp(middle)) < wanted:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)
