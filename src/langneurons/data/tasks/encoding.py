"""Token ids of examples: too long ones lose the end of their context, never the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from langneurons.data.tasks.base import Example, QAExample, Task, check_limit
from langneurons.data.tasks.forms import END
from langneurons.data.tasks.splits import drawn_order
from langneurons.errors import InputError

TEXTS_AT_ONCE = 256
"""Texts in one call; a tokenizer's own records take some hundred bytes a character."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of one input text.

    Attributes:
        ids: Token ids, with the special tokens the tokenizer puts in front.
        cut: Characters of the context that were left out so that the text fits.
    """

    ids: list[int]
    cut: int


def pad_id(tokenizer: Any) -> int:
    """Id to pad with: the tokenizer's own, else its end token, else 0 (masked anyway)."""
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if value is not None:
            return int(value)
    return 0


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that is to be continued: special tokens in front only.

    A tokenizer that puts an end token behind would tell the model that nothing follows.

    Raises:
        InputError: If the text asks for an end token and the tokenizer has none.
    """
    return encode_texts(tokenizer, [text])[0]


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """What :func:`encode_text` gives for each text, in one call: calls cost more than texts.

    Raises:
        InputError: See :func:`encode_text`.
    """
    found: list[list[int]] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        group = [with_end(tokenizer, text) for text in texts[start : start + TEXTS_AT_ONCE]]
        ids_of = tokenizer(group)["input_ids"]
        found += [_open(tokenizer, text, ids) for text, ids in zip(group, ids_of, strict=True)]
    return found


def _open(tokenizer: Any, text: str, ids: list[int]) -> list[int]:
    """Ids without an end token that the tokenizer has put behind them."""
    if ids and ids[-1] in {tokenizer.eos_token_id, tokenizer.sep_token_id}:
        bare: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(len(ids) - len(bare) + 1):
            if ids[start : start + len(bare)] == bare:
                return ids[: start + len(bare)]
    return ids


def with_end(tokenizer: Any, text: str) -> str:
    """A text with the tokenizer's end token where the text asks for it (``{eos}`` of a template).

    Raises:
        InputError: If the tokenizer has none.
    """
    if END not in text:
        return text
    if tokenizer.eos_token is None:
        raise InputError(
            "the template names {eos}, and the model's tokenizer has no end token: take it out."
        )
    return text.replace(END, str(tokenizer.eos_token))


def fitting(
    task: Task, examples: Sequence[Example], tokenizer: Any, *, answered: bool = False
) -> list[Example]:
    """The examples whose whole input is within the task's ``max_tokens``; all where that is None.

    Args:
        task: The task.
        examples: Its examples.
        tokenizer: A tokenizer of Transformers.
        answered: Whether a question's answer counts, as in training.

    Raises:
        InputError: If none is left.
    """
    kept = within(task, examples, tokenizer, answered=answered)
    if not kept and task.max_tokens is not None:
        raise _none_fits(task, len(examples))
    return kept


def _none_fits(task: Task, count: int) -> InputError:
    return InputError(
        f"{task.name}: none of {count} examples is within max_tokens={task.max_tokens}: raise it, "
        "or leave it out to shorten contexts instead."
    )


class Drawn(NamedTuple):
    """Examples of a task and how many were passed over on the way.

    Attributes:
        examples: The examples.
        left_out: Examples whose turn came and that have more tokens than the task's ``max_tokens``.
    """

    examples: list[Example]
    left_out: int


def draw_within(
    task: Task,
    lang: str,
    split: str,
    tokenizer: Any,
    *,
    limit: int | None = None,
    seed: int = 0,
    answered: bool = False,
) -> Drawn:
    """Examples drawn as :meth:`Task.examples` draws them, among those within ``max_tokens``.

    One that is too long gives its place to the next in the drawn order, so that ``limit`` examples
    are found where there are as many; no more are tokenised than it takes. They come in the order
    of the data.

    Args:
        task: The task.
        lang: Language code.
        split: See :meth:`Task.examples`.
        tokenizer: A tokenizer of Transformers.
        limit: See :meth:`Task.examples`.
        seed: See :meth:`Task.examples`.
        answered: See :func:`fitting`.

    Raises:
        InputError: If there is no example, or none is within the limit of length.
    """
    if task.max_tokens is None:
        return Drawn(task.examples(lang, split, limit, seed), 0)
    check_limit(limit)
    rows = task.examples(lang, split)
    wanted = len(rows) if limit is None else limit
    ordered = [rows[index] for index in drawn_order(rows, seed, lambda row: row.group)]
    found, left_out = first_within(task, ordered, wanted, tokenizer, answered=answered)
    if not found:
        raise _none_fits(task, len(rows))
    ids = {row.id for row in found}
    return Drawn([row for row in rows if row.id in ids], left_out)


def first_within(
    task: Task, examples: Sequence[Example], count: int, tokenizer: Any, *, answered: bool = False
) -> Drawn:
    """The first ``count`` examples within the task's ``max_tokens``; fewer where there are fewer.

    Args:
        task: The task.
        examples: Its examples, in the order in which they are wanted.
        count: How many are wanted.
        tokenizer: A tokenizer of Transformers.
        answered: See :func:`fitting`.
    """
    found: list[Example] = []
    seen = 0
    while len(found) < count and seen < len(examples):
        part = examples[seen : seen + count - len(found)]
        found += within(task, part, tokenizer, answered=answered)
        seen += len(part)
    return Drawn(found, seen - len(found))


def within(
    task: Task, examples: Sequence[Example], tokenizer: Any, *, answered: bool = False
) -> list[Example]:
    """What :func:`fitting` gives, none where none is left."""
    if task.max_tokens is None:
        return list(examples)
    texts = [
        task.encode(example)
        + (task.target(example) if answered and isinstance(example, QAExample) else "")
        for example in examples
    ]
    return [
        example
        for example, ids in zip(examples, encode_texts(tokenizer, texts), strict=True)
        if len(ids) <= task.max_tokens
    ]


def encode_example(
    task: Task, example: Example, tokenizer: Any, max_length: int | None = None
) -> Encoded:
    """Ids of an example's input, shortened at the end of its context where it is too long.

    Args:
        task: The task, which knows what is context.
        example: The example.
        tokenizer: A tokenizer of Transformers.
        max_length: Most tokens allowed; None for no limit.

    Raises:
        InputError: If the text is too long even without any context.
    """
    return encode_examples(task, [example], tokenizer, max_length)[0]


def encode_examples(
    task: Task, examples: Sequence[Example], tokenizer: Any, max_length: int | None = None
) -> list[Encoded]:
    """What :func:`encode_example` gives for each example, in one call of the tokenizer.

    Args:
        task: See :func:`encode_example`.
        examples: The examples.
        tokenizer: See :func:`encode_example`.
        max_length: See :func:`encode_example`.

    Raises:
        InputError: See :func:`encode_example`.
    """
    whole = encode_texts(tokenizer, ["".join(task.parts(example)) for example in examples])
    return [
        _fitting(task, example, tokenizer, max_length, ids)
        for example, ids in zip(examples, whole, strict=True)
    ]


def _fitting(
    task: Task, example: Example, tokenizer: Any, max_length: int | None, ids: list[int]
) -> Encoded:
    """Ids of an example, those of the whole being known."""
    before, context, after = task.parts(example)
    if max_length is None or len(ids) <= max_length:
        return Encoded(ids, 0)
    # The number of tokens grows with the number of characters kept (up to merges at the cut), so
    # the longest prefix that fits is found by halving.
    low, high, best = 0, len(context) - 1, None
    while low <= high:
        middle = (low + high) // 2
        shorter = encode_text(tokenizer, before + context[:middle] + after)
        if len(shorter) <= max_length:
            best, low = Encoded(shorter, len(context) - middle), middle + 1
        else:
            high = middle - 1
    if best is None:
        raise InputError(
            f"{task.name}: example {example.id!r} needs {len(ids)} tokens and does not fit into "
            f"{max_length} even without its context."
        )
    return best


def encode_answer(task: Task, example: Example, tokenizer: Any, prompt: Encoded) -> list[int]:
    """Ids of a question's first answer and the stop, as they follow the ids of its prompt.

    Both are read at once where that leaves the prompt's ids as they are: some tokenizers mark word
    beginnings and would put a second mark in front of an answer that is read alone.

    Args:
        task: The task, which knows what stands between question and answer.
        example: The question.
        tokenizer: A tokenizer of Transformers.
        prompt: Its prompt, as :func:`encode_example` gives it.

    Raises:
        InputError: If the example has no gold answer.
    """
    target = task.target(example)
    if prompt.cut == 0:
        whole = encode_text(tokenizer, task.encode(example) + target)
        if whole[: len(prompt.ids)] == prompt.ids and len(whole) > len(prompt.ids):
            return whole[len(prompt.ids) :]
    alone: list[int] = tokenizer(with_end(tokenizer, target), add_special_tokens=False)["input_ids"]
    return alone
