"""Losses of a batch, as sums, so that micro-batches of different size add up to the right mean."""

from __future__ import annotations

import inspect
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F

from langneurons.finetuning.examples import IGNORE, Batch
from langneurons.models.head import chosen_positions


def accepted(model: nn.Module) -> frozenset[str]:
    """Names of the arguments of the forward pass of the model inside a PEFT model."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return frozenset(inspect.signature(inner.forward).parameters)


def loss_sum(model: nn.Module, batch: Batch, names: frozenset[str]) -> Tensor:
    """Summed cross-entropy (nats, float32) of a batch.

    Args:
        model: Classification model for labels of shape (batch,), causal model for (batch, length).
        batch: The examples.
        names: Arguments the model takes (:func:`accepted`).
    """
    return F.cross_entropy(*_logits(model, batch, names), reduction="sum")


def loss_and_right(model: nn.Module, batch: Batch, names: frozenset[str]) -> tuple[Tensor, Tensor]:
    """What :func:`loss_sum` gives, and the number of right predictions.

    Args:
        model: See :func:`loss_sum`.
        batch: See :func:`loss_sum`.
        names: See :func:`loss_sum`.
    """
    logits, targets = _logits(model, batch, names)
    return F.cross_entropy(logits, targets, reduction="sum"), (logits.argmax(-1) == targets).sum()


def _logits(model: nn.Module, batch: Batch, names: frozenset[str]) -> tuple[Tensor, Tensor]:
    """Logits of everything that has a label, float32 (n, classes or vocabulary), and the labels."""
    inputs: dict[str, Any] = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
    }
    if batch.labels.dim() == 1:
        return model(**inputs).logits.float(), batch.labels
    # Left padding shifts absolute positions; those of real tokens start at 0 again.
    if "position_ids" in names:
        inputs["position_ids"] = (batch.attention_mask.cumsum(-1) - 1).clamp_(min=0)
    if "use_cache" in names:
        inputs["use_cache"] = False
    labels = batch.labels[:, 1:]
    wanted = labels != IGNORE
    with chosen_positions(model, wanted) as chosen:
        logits = model(**inputs).logits
    logits = logits[0] if chosen() else logits[:, :-1][wanted]
    return logits.float(), labels[wanted]
