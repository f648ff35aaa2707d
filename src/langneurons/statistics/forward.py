"""Running a model without its head: no logits are ever computed for statistics."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from langneurons.models import LanguageModel


def _takes_positions(kind: type[nn.Module]) -> bool:
    return "position_ids" in inspect.signature(kind.forward).parameters


def run_backbone(lm: LanguageModel, input_ids: Tensor, attention_mask: Tensor) -> None:
    """Run the model up to its last layer, for the sake of the hooks.

    Positions are counted from the first real token, so that padding on the left changes nothing.

    Args:
        lm: The model.
        input_ids: int64 (b, t).
        attention_mask: bool (b, t), False on padding.

    Raises:
        InputError: If the model has no such position or token.
    """
    lm.check_ids(input_ids)
    device = lm.device
    arguments: dict[str, Tensor] = {}
    if not bool(attention_mask.all()):
        arguments["attention_mask"] = attention_mask.to(device=device, dtype=torch.int64)
        if _takes_positions(type(lm.backbone)):
            positions = (attention_mask.cumsum(1) - 1).clamp_min(0)
            arguments["position_ids"] = positions.to(device)
    lm.backbone(input_ids=input_ids.to(device), use_cache=False, **arguments)
