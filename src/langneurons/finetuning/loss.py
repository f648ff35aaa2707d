"""Losses of a batch, as sums, so that micro-batches of different size add up to the right mean."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F

from langneurons.finetuning.examples import IGNORE, Batch


def accepted(model: nn.Module) -> frozenset[str]:
    """Names of the arguments of the forward pass of the model inside a PEFT model."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return frozenset(inspect.signature(inner.forward).parameters)


def loss_sum(model: nn.Module, batch: Batch, names: frozenset[str]) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy (nats, float32) of a batch, and the number of right predictions.

    Args:
        model: Classification model for labels of shape (batch,), causal model for (batch, length).
        batch: The examples.
        names: Arguments the model takes (:func:`accepted`).
    """
    inputs: dict[str, Any] = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
    }
    if batch.labels.dim() == 1:
        logits = model(**inputs).logits.float()
        targets = batch.labels
    else:
        # Left padding shifts absolute positions; those of real tokens start at 0 again.
        if "position_ids" in names:
            inputs["position_ids"] = (batch.attention_mask.cumsum(-1) - 1).clamp_(min=0)
        if "use_cache" in names:
            inputs["use_cache"] = False
        wanted = (batch.labels != IGNORE).any(0).nonzero()
        keep = batch.labels.shape[1] - int(wanted[0]) + 1
        if "logits_to_keep" in names:
            inputs["logits_to_keep"] = keep
        logits = model(**inputs).logits[:, -keep:][:, :-1].float().flatten(0, 1)
        targets = batch.labels[:, -keep:][:, 1:].flatten()
    loss = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    with torch.no_grad():
        right = ((logits.argmax(-1) == targets) & (targets != IGNORE)).sum()
    return loss, right
