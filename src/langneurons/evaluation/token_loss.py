"""Log-probabilities of given tokens, without ever keeping logits of the whole vocabulary.

The model runs up to its last hidden state; the head is applied to some rows at a time, and what
is left of each piece is one number a token. What a model does to its logits after the head
(capping in Gemma 2, scaling in Cohere and Granite) is read from its configuration and checked
once against the model's own forward pass; a model that does something else is run whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from langneurons.errors import InputError
from langneurons.models.language_model import plain_model

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

PIECE_BYTES = 64 * 2**20
"""Size of the largest piece of logits (in float32) that exists at a time."""

CPU_PIECE_BYTES = 8 * 2**20
"""The same on a CPU, where a piece that stays in the cache costs half the time."""

PIECE_ROWS = 512
"""Rows of a piece; the rest of its size is a slice of the vocabulary."""

Finish = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Head:
    """The output matrix of a model and what it does to the logits.

    Attributes:
        module: The output projection, hidden to vocabulary.
        finish: What follows it, or None where the model must run whole to get logits.
    """

    module: nn.Module
    finish: Finish | None


def find_head(lm: LanguageModel) -> Head:
    """Find the head of a causal model and check it on a few tokens.

    Raises:
        InputError: If the model has no language-model head.
    """
    model = plain_model(lm.model)
    module = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if module is None:
        raise InputError(
            f"{type(model).__name__} has no language-model head: log-likelihoods and perplexity "
            "need a causal model."
        )
    seen: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    ids = torch.arange(4, device=lm.device)[None] % lm.config.vocab_size
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            hidden = lm.backbone(input_ids=ids, use_cache=False).last_hidden_state
    finally:
        handle.remove()
    if not seen or not _close(seen[0][0], hidden):
        return Head(module, None)
    raw = seen[0][1]
    for finish in _finishes(lm.config):
        if _close(finish(raw), logits):
            return Head(module, finish)
    return Head(module, None)


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-4)


def _finishes(config: Any) -> list[Finish]:
    finishes: list[Finish] = [lambda logits: logits]
    cap = getattr(config, "final_logit_softcapping", None)
    if cap:
        finishes.insert(0, lambda logits: torch.tanh(logits / cap) * cap)
    factor = getattr(config, "logit_scale", None)
    if factor:
        finishes.insert(0, lambda logits: logits * factor)
    divisor = getattr(config, "logits_scaling", None)
    if divisor:
        finishes.insert(0, lambda logits: logits / divisor)
    return finishes


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
            scored = _in_pieces(head, hidden, target[choose])
    result[:, 1:][choose] = scored
    return result


def _takes_positions(lm: LanguageModel) -> bool:
    import inspect

    return "position_ids" in inspect.signature(lm.backbone.forward).parameters


def _log_probs(logits: Tensor, target: Tensor) -> Tensor:
    return -functional.cross_entropy(logits.float(), target, reduction="none")


def _in_pieces(head: Head, hidden: Tensor, target: Tensor) -> Tensor:
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
