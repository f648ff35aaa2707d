"""Token ids of examples: too long ones lose the end of their context, never the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langneurons.data.tasks.base import Example, Task
from langneurons.errors import InputError


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
    """
    ids: list[int] = tokenizer(text)["input_ids"]
    if ids and ids[-1] in {tokenizer.eos_token_id, tokenizer.sep_token_id}:
        bare: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(len(ids) - len(bare) + 1):
            if ids[start : start + len(bare)] == bare:
                return ids[: start + len(bare)]
    return ids


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
    before, context, after = task.parts(example)
    ids = encode_text(tokenizer, before + context + after)
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
    alone: list[int] = tokenizer(target, add_special_tokens=False)["input_ids"]
    return alone
