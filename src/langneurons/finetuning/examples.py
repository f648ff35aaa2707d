"""Training examples as token ids, and batches of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.trainer_pt_utils import get_length_grouped_indices

from langneurons.data.tasks import (
    encode_answer,
    encode_example,
    encode_examples,
    fitting,
    with_end,
)
from langneurons.errors import InputError

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.data.tasks import Example, Task

IGNORE = -100
"""Label of a position whose loss is not taken (the value Transformers uses)."""


BUCKET = 50
"""Batches that are drawn at random together and then sorted by length. The library's own number is
smaller for few examples: a quarter of a batch was padding with 1,000 examples in batches of 32."""


@dataclass(frozen=True)
class Item:
    """One training example.

    Attributes:
        ids: Token ids of the input, for questions followed by those of the answer.
        label: Class (classification), or index in ``ids`` where the answer starts.
    """

    ids: list[int]
    label: int


@dataclass(frozen=True)
class Batch:
    """Padded examples.

    Attributes:
        input_ids: int64 (batch, length).
        attention_mask: int64 (batch, length), 1 on real tokens.
        labels: int64 (batch,) classes, or (batch, length) token ids with :data:`IGNORE` outside
            the answers.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return Batch(
            self.input_ids.to(device), self.attention_mask.to(device), self.labels.to(device)
        )


def terms(item: Item, kind: str) -> int:
    """Number of terms an item has in the loss: one, or its answer tokens."""
    return 1 if kind == "classification" else len(item.ids) - item.label


def encode_items(
    task: Task, examples: Sequence[Example], tokenizer: Any, *, max_length: int, pad: int
) -> list[Item]:
    """Token ids and labels of examples.

    Args:
        task: Classification or question answering.
        examples: Its examples; those beyond the task's ``max_tokens`` are left out.
        tokenizer: Tokenizer of the model.
        max_length: Longest input with its answer; contexts are shortened, nothing else.
        pad: Padding id; a classification input must not end with it, as the head would look past
            it, so such an ending is left out.

    Raises:
        InputError: If a label is missing or out of range, or an example does not fit.
    """
    if task.kind == "qa":
        examples = fitting(task, examples, tokenizer, answered=True)
        return [_answer_item(task, example, tokenizer, max_length) for example in examples]
    if task.kind != "classification":
        raise InputError(
            f"task {task.name!r} is of kind {task.kind!r}, which cannot be trained on: "
            "choose a classification or a question answering task."
        )
    examples = fitting(task, examples, tokenizer)
    labels = [_label(task, example) for example in examples]
    encoded = encode_examples(task, examples, tokenizer, max_length)
    return [
        Item(_without_padding(item.ids, pad), label)
        for item, label in zip(encoded, labels, strict=True)
    ]


def _label(task: Task, example: Example) -> int:
    label = getattr(example, "label", None)
    if label is None or not 0 <= int(label) < len(task.labels):
        raise InputError(
            f"{task.name}: example {example.id!r} has the label {label!r}; training needs "
            f"0 to {len(task.labels) - 1} ({', '.join(task.labels)})."
        )
    return int(label)


def _without_padding(ids: list[int], pad: int) -> list[int]:
    while len(ids) > 1 and ids[-1] == pad:
        ids = ids[:-1]
    return ids


def block_items(blocks: Blocks) -> list[Item]:
    """Blocks of text as items whose "answer" runs from the first counted token to the end.

    Where a block begins with a counted token, that one has nothing to be predicted from and the
    answer begins with the second.
    """
    items = []
    for ids, mask, counted in zip(
        blocks.input_ids, blocks.attention_mask.bool(), blocks.counted, strict=True
    ):
        first = max(1, int(counted[mask].int().argmax()))
        if int(mask.sum()) > first:
            items.append(Item(ids[mask].tolist(), first))
    return items


def _answer_item(task: Task, example: Example, tokenizer: Any, max_length: int) -> Item:
    target = with_end(tokenizer, task.target(example))
    room = max_length - len(tokenizer(target, add_special_tokens=False)["input_ids"])
    if room < 1:
        raise InputError(
            f"{task.name}: the answer of example {example.id!r} alone fills {max_length} tokens: "
            "raise max_length."
        )
    prompt = encode_example(task, example, tokenizer, room)
    return Item([*prompt.ids, *encode_answer(task, example, tokenizer, prompt)], len(prompt.ids))


def collate(items: Sequence[Item], *, kind: str, pad: int, length: int | None = None) -> Batch:
    """Pad items to one length.

    Classification is padded on the right. Answers are padded on the left, so that all of them end
    at the last position and the vocabulary-wide logits are only needed for the last few.

    Args:
        items: What goes into the batch.
        kind: ``"classification"``, ``"qa"`` or ``"text"``.
        pad: Padding id.
        length: Pad to this length; None: to the longest item.
    """
    longest = max(len(item.ids) for item in items)
    width = longest if length is None else max(length, longest)
    ids = torch.full((len(items), width), pad, dtype=torch.long)
    mask = torch.zeros((len(items), width), dtype=torch.long)
    answers = torch.full((len(items), width), IGNORE, dtype=torch.long)
    for row, item in enumerate(items):
        n = len(item.ids)
        where = slice(0, n) if kind == "classification" else slice(width - n, width)
        ids[row, where] = torch.tensor(item.ids)
        mask[row, where] = 1
        if kind != "classification":
            answers[row, width - n + item.label :] = torch.tensor(item.ids[item.label :])
    if kind == "classification":
        return Batch(ids, mask, torch.tensor([item.label for item in items]))
    return Batch(ids, mask, answers)


def epoch_batches(
    lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """Indices of each batch of one epoch: examples of like length together, batches shuffled.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples in a batch; the last one may be smaller.
        seed: Seed of the run.
        epoch: Number of the epoch; another one gives another order.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = get_length_grouped_indices(
        list(lengths), batch_size, mega_batch_mult=BUCKET, generator=generator
    )
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in shuffled]


def optimiser_steps(
    lengths: Sequence[int],
    *,
    batch_size: int,
    accumulation: int,
    epochs: float,
    steps: int | None,
    seed: int,
) -> Iterator[list[list[int]]]:
    """The micro-batches (lists of indices) of every optimiser step of a run, in order.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples in a micro-batch.
        accumulation: Micro-batches in a step; the last step of an epoch may have fewer.
        epochs: Passes over the data, where ``steps`` is None.
        steps: Number of steps.
        seed: Seed of the run.
    """
    total = total_steps(
        len(lengths), batch_size=batch_size, accumulation=accumulation, epochs=epochs, steps=steps
    )
    done = epoch = 0
    while True:
        batches = epoch_batches(lengths, batch_size, seed=seed, epoch=epoch)
        for start in range(0, len(batches), accumulation):
            if done == total:
                return
            yield batches[start : start + accumulation]
            done += 1
        epoch += 1


def total_steps(
    count: int, *, batch_size: int, accumulation: int, epochs: float, steps: int | None
) -> int:
    """Number of optimiser steps of a run over ``count`` examples."""
    if steps is not None:
        return steps
    per_epoch = math.ceil(math.ceil(count / batch_size) / accumulation)
    return max(1, round(per_epoch * epochs))
