"""Rows of results: what every kind of evaluation writes down about an example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langneurons.data.tasks import NO_GOLD

if TYPE_CHECKING:
    from langneurons.data.tasks import Example
    from langneurons.models import LanguageModel

_UNLIMITED = 1_000_000


def max_positions(lm: LanguageModel) -> int | None:
    """Longest input the model can take, None where it says nothing."""
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        value = getattr(lm.config, name, None)
        if isinstance(value, int) and 0 < value < _UNLIMITED:
            return value
    return None


def label_row(
    example: Example, labels: Sequence[str], log_likelihoods: list[float], *, cut: int
) -> dict[str, Any]:
    """A row for an example with one right label; the likeliest is the prediction.

    Args:
        example: The example, with a ``label``.
        labels: What each index stands for.
        log_likelihoods: One a label; the first of equals wins.
        cut: Characters or tokens of the context that were left out.
    """
    predicted = max(range(len(log_likelihoods)), key=log_likelihoods.__getitem__)
    gold = int(getattr(example, "label", NO_GOLD))
    known = gold != NO_GOLD
    return {
        "id": example.id,
        "group": example.group,
        "prediction": labels[predicted],
        "gold": labels[gold] if known else None,
        "correct": float(predicted == gold) if known else math.nan,
        "log_likelihoods": [float(value) for value in log_likelihoods],
        "cut": cut,
        **example.extra,
    }
