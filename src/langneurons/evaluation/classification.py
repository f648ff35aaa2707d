"""Classification by a fine-tuned head: one forward pass over length-sorted batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from langneurons.data.tasks import encode_examples, pad_id
from langneurons.errors import InputError, RunError
from langneurons.evaluation.batching import BATCH_TOKENS, CPU_TOKENS, sequence_batches
from langneurons.evaluation.rows import label_row, max_positions
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.data.tasks import Example, Task
    from langneurons.models import LanguageModel
    from langneurons.progress import Bar


def has_head(lm: LanguageModel) -> bool:
    """Whether the model classifies sequences instead of predicting tokens."""
    return type(plain_model(lm.model)).__name__.endswith("ForSequenceClassification")


def reading_length(lm: LanguageModel) -> int | None:
    """Length every text is padded to for a head that reads the last position; None for others."""
    length = getattr(plain_model(lm.model).config, "reading_length", None)
    return None if length is None else int(length)


def classify(
    lm: LanguageModel,
    sequences: Sequence[Sequence[int]],
    *,
    batch_size: int | None = None,
    bar: Bar | None = None,
) -> NDArray[np.float64]:
    """Log-probabilities of the classes.

    Args:
        lm: A model with a classification head.
        sequences: Token ids of each input.
        batch_size: Sequences in a batch; None goes by the number of tokens.
        bar: Progress, advanced by sequences.

    Returns:
        float64 (sequences, classes).

    Raises:
        RunError: If the model gives no finite number.
    """
    mark = plain_model(lm.model).config.pad_token_id
    found: NDArray[np.float64] | None = None
    # The head reads the last token that is not the padding id, so an input must not end in it. A
    # negative id, which no token has, marks a head that reads the last position.
    pad = pad_id(lm.tokenizer) if mark is None or mark < 0 else int(mark)
    trimmed = [_without_end(ids, pad) if pad == mark else ids for ids in sequences]
    tokens = CPU_TOKENS if lm.device.type == "cpu" else BATCH_TOKENS
    for batch in sequence_batches(trimmed, pad=pad, batch_size=batch_size, batch_tokens=tokens):
        on_device = batch.to(lm.device)
        with torch.no_grad():
            logits = lm.model(
                input_ids=on_device.input_ids, attention_mask=on_device.attention_mask
            ).logits
        part = logits.double().log_softmax(-1).cpu().numpy()
        if not np.isfinite(part).all():
            raise RunError(
                "the model's class scores are not finite: the intervention's value or the "
                "adapter drove it out of range; choose a milder one or another dtype."
            )
        if found is None:
            found = np.empty((len(sequences), part.shape[1]))
        found[batch.index.numpy()] = part
        if bar is not None:
            bar.advance(len(batch.index))
    assert found is not None
    return found


def _without_end(ids: Sequence[int], pad: int) -> Sequence[int]:
    end = len(ids)
    while end > 1 and ids[end - 1] == pad:
        end -= 1
    return ids[:end]


def classification_rows(
    lm: LanguageModel,
    task: Task,
    examples: Sequence[Example],
    *,
    batch_size: int | None,
    bar: Bar,
) -> list[dict[str, Any]]:
    """Rows of :class:`~langneurons.evaluation.scores.Scores` from the classification head.

    Raises:
        InputError: If the head has another number of classes than the task.
    """
    classes = int(plain_model(lm.model).config.num_labels)
    if classes != len(task.labels):
        raise InputError(
            f"the adapter's head has {classes} classes, {task.name} has {len(task.labels)} "
            f"({', '.join(task.labels)}): use an adapter trained on this task."
        )
    # A longer text would push the position that is read, in its whole batch.
    limits = [limit for limit in (max_positions(lm), reading_length(lm)) if limit is not None]
    longest = min(limits, default=None)
    encoded = encode_examples(task, examples, lm.tokenizer, longest)
    scores = classify(lm, [item.ids for item in encoded], batch_size=batch_size, bar=bar)
    return [
        label_row(example, task.labels, list(row), cut=item.cut)
        for example, row, item in zip(examples, scores, encoded, strict=True)
    ]
