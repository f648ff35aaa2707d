"""Log-probabilities of given tokens, without ever keeping logits of the whole vocabulary.

The model runs up to its last hidden state; the head (:mod:`langneurons.models.head`) is applied to
some rows at a time, and what is left of each piece is one number a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from langneurons.models.head import Finish as Finish
from langneurons.models.head import Head as Head
from langneurons.models.head import find_head as find_head
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

PIECE_BYTES = 64 * 2**20
"""Size of the largest piece of logits (in float32) that exists at a time."""

CPU_PIECE_BYTES = 8 * 2**20
"""The same on a CPU, where a piece that stays in the cache costs half the time."""

PIECE_ROWS = 512
"""Rows of a piece; the rest of its size is a slice of the vocabulary."""


def token_log_probs(
    lm: LanguageModel, head: Head, input_ids: Tensor, attention_mask: Tensor, wanted: Tensor
) -> Tensor:
    """Natural log-probability of each wanted token given all tokens before it.

    Args:
        lm: A causal model.
        head: Its head, from :func:`find_head`.
        input_ids: int64 (b, t) on the model's device.
        attention_mask: (b, t), true on real tokens.
        wanted: bool (b, t), the tokens to score; the first real token of a row cannot be one.

    Returns:
        float32 (b, t), 0 where nothing was wanted.
    """
    lm.check_ids(input_ids)
    mask = attention_mask.to(torch.int64)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"input_ids": input_ids, "attention_mask": mask, "use_cache": False}
    if not bool((mask[:, 0] == 1).all()) and _takes_positions(lm):
        inputs["position_ids"] = positions  # padding on the left
    target = input_ids[:, 1:]
    choose = wanted[:, 1:] & attention_mask[:, :-1].bool()
    result = torch.zeros(input_ids.shape, dtype=torch.float32, device=input_ids.device)
    with torch.no_grad():
        if head.finish is None:
            logits = plain_model(lm.model)(**inputs).logits[:, :-1][choose]
            scored = _log_probs(logits, target[choose])
        else:
            hidden = lm.backbone(**inputs).last_hidden_state[:, :-1][choose]
            scored = hidden_log_probs(head, hidden, target[choose])
    result[:, 1:][choose] = scored
    return result


def _takes_positions(lm: LanguageModel) -> bool:
    import inspect

    return "position_ids" in inspect.signature(lm.backbone.forward).parameters


def _log_probs(logits: Tensor, target: Tensor) -> Tensor:
    return -functional.cross_entropy(logits.float(), target, reduction="none")


def hidden_log_probs(head: Head, hidden: Tensor, target: Tensor) -> Tensor:
    """Natural log-probability of a token a row, from last hidden states, in pieces.

    Args:
        head: The head, from :func:`find_head`; one with a known finish.
        hidden: (n, width), what the backbone gave.
        target: int64 (n,), the token each row is asked for.

    Returns:
        float32 (n,).
    """
    assert head.finish is not None
    if not len(hidden):
        return hidden.new_zeros(0, dtype=torch.float32)
    size = CPU_PIECE_BYTES if hidden.device.type == "cpu" else PIECE_BYTES
    if type(head.module) is nn.Linear:
        columns = max(1, size // (4 * PIECE_ROWS))
        pieces = [
            _over_slices(head.module, head.finish, part, wanted, columns)
            for part, wanted in zip(hidden.split(PIECE_ROWS), target.split(PIECE_ROWS), strict=True)
        ]
        return torch.cat(pieces)
    # A quantised head or one with an adapter is asked for whole rows of logits.
    rows = max(1, PIECE_BYTES // (4 * len(cast("Tensor", head.module.weight))))
    pieces = [
        _log_probs(head.finish(head.module(part)), wanted)
        for part, wanted in zip(hidden.split(rows), target.split(rows), strict=True)
    ]
    return torch.cat(pieces)


def _over_slices(
    module: nn.Linear, finish: Finish, hidden: Tensor, target: Tensor, columns: int
) -> Tensor:
    """Log-probabilities with the vocabulary taken a slice at a time.

    The logarithm of the sum of exponentials is carried from slice to slice, so that a piece of
    logits fits the processor's cache and the weights are read once for many rows.
    """
    total = torch.full((len(hidden),), -torch.inf, dtype=torch.float32, device=hidden.device)
    chosen = torch.zeros_like(total)
    for start in range(0, module.out_features, columns):
        stop = min(start + columns, module.out_features)
        bias = None if module.bias is None else module.bias[start:stop]
        logits = finish(functional.linear(hidden, module.weight[start:stop], bias)).float()
        total = torch.logaddexp(total, logits.logsumexp(1))
        here = (target >= start) & (target < stop)
        place = (target - start).clamp(0, stop - start - 1)
        chosen = torch.where(here, logits.gather(1, place[:, None])[:, 0], chosen)
    return chosen - total
