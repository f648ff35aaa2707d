"""Running a model without its head: no logits are ever computed for statistics."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from langneurons.models import LanguageModel


def _takes_positions(kind: type[nn.Module]) -> bool:
    return "position_ids" in inspect.signature(kind.forward).parameters


def inputs(
    lm: LanguageModel, module: nn.Module, input_ids: Tensor, attention_mask: Tensor
) -> dict[str, Tensor]:
    """Arguments of a forward pass of ``module`` over a batch.

    Positions are counted from the first real token, so that padding on the left changes nothing.

    Args:
        lm: The model, for its device.
        module: The backbone or the whole model.
        input_ids: int64 (b, t).
        attention_mask: bool (b, t), False on padding.

    Raises:
        InputError: If the model has no such position or token.
    """
    lm.check_ids(input_ids)
    arguments = {"input_ids": input_ids.to(lm.device)}
    if not bool(attention_mask.all()):
        arguments["attention_mask"] = attention_mask.to(device=lm.device, dtype=torch.int64)
        if _takes_positions(type(module)):
            positions = (attention_mask.cumsum(1) - 1).clamp_min(0)
            arguments["position_ids"] = positions.to(lm.device)
    return arguments


def run_backbone(lm: LanguageModel, input_ids: Tensor, attention_mask: Tensor) -> Any:
    """Run the model up to its last layer, for the sake of the hooks.

    Args:
        lm: The model.
        input_ids: int64 (b, t).
        attention_mask: bool (b, t), False on padding.

    Returns:
        What the backbone returns.
    """
    return lm.backbone(**inputs(lm, lm.backbone, input_ids, attention_mask), use_cache=False)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode (no dropout) for the block; every module as before afterwards.

    Args:
        model: The model.
    """
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
