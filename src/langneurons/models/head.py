"""The head of a causal model: its output matrix, and what the model does to the logits after it.

What a model does to its logits after the head (capping in Gemma 2, scaling in Cohere and Granite)
is read from its configuration and checked once against the model's own forward pass; a model that
does something else is run whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.models.handles import holding
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

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


@contextlib.contextmanager
def chosen_positions(model: nn.Module, wanted: Tensor) -> Iterator[Callable[[], bool]]:
    """Let the head of a causal model see some positions only, in one forward pass of the block.

    What the model does to its logits acts on each by itself, so it may see them in any arrangement.

    Args:
        model: A causal model, also one wrapped by PEFT.
        wanted: bool (b, t - 1), the positions whose next token is to be predicted.

    Yields:
        Says after the pass whether its logits are (1, n, vocabulary), in the order of ``wanted``,
        or those of all positions, as of a model whose head is no module of the last hidden states.
    """
    plain = plain_model(model)
    module = plain.get_output_embeddings() if hasattr(plain, "get_output_embeddings") else None
    shape = (wanted.shape[0], wanted.shape[1] + 1)
    seen: list[bool] = []

    def choose(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not given or given[0].dim() != 3 or given[0].shape[:2] != shape:
            return None
        seen.append(True)
        return given[0][:, :-1][wanted][None], *given[1:]

    if module is None:
        yield lambda: False
        return
    with holding(module.register_forward_pre_hook(choose)):
        yield lambda: bool(seen)


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
