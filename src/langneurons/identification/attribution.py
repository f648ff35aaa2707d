"""Running a model on texts with gradients of its loss at every unit of a site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from langneurons.data import Batch, Blocks, batches, make_blocks
from langneurons.errors import InputError, RunError
from langneurons.models import LanguageModel, hook_site
from langneurons.models.head import Head, find_head
from langneurons.models.plain import plain_model
from langneurons.progress import track
from langneurons.statistics.forward import inputs, run_backbone
from langneurons.statistics.options import check_integer

Measure = Callable[[int, Tensor, Tensor], Tensor]
"""``measure(layer, activations (n, U), gradients (n, U)) -> (..., U)``, sums over the n tokens."""


def to_blocks(
    lm: LanguageModel,
    texts: Mapping[str, Sequence[str] | Blocks],
    block: int,
    tokens: int | None,
) -> dict[str, Blocks]:
    """Blocks of each language; blocks that are given stay as they are.

    Raises:
        InputError: If a text holds no token; names its language.
    """
    check_integer("block", block, 1)
    made = {}
    for language, item in texts.items():
        if isinstance(item, Blocks):
            made[language] = item
            continue
        try:
            made[language] = make_blocks(item, lm.tokenizer, block=block, tokens=tokens)
        except InputError as error:
            raise InputError(f"language {language!r}: {error}") from error
    return made


def summed_loss(
    lm: LanguageModel, head: Head, batch: Batch, *, gradient: bool
) -> tuple[float, int]:
    """Summed cross-entropy (nats) of the counted tokens, each from those before it.

    The head is applied to some tokens at a time, forward and backward, so that logits of the whole
    batch never exist. A model whose logits are more than a matrix of the last hidden states runs
    whole.

    Args:
        lm: The model.
        head: Its head.
        batch: The tokens; one is predicted if it is counted and has a real token before it.
        gradient: Whether to run backward too.

    Returns:
        The sum and the number of predicted tokens.
    """
    predicted = (batch.counted[:, 1:] & batch.attention_mask[:, :-1]).to(lm.device)
    target = batch.input_ids[:, 1:].to(lm.device)[predicted]
    if head.finish is None:
        model = plain_model(lm.model)
        arguments = inputs(lm, model, batch.input_ids, batch.attention_mask)
        logits = lm.model(**arguments, use_cache=False).logits[:, :-1][predicted]
        loss = functional.cross_entropy(logits.float(), target, reduction="sum")
        if gradient and len(target):
            loss.backward()
        return float(loss.detach()), len(target)
    output = run_backbone(lm, batch.input_ids, batch.attention_mask)
    hidden = output.last_hidden_state[:, :-1][predicted]
    if not len(target):
        return 0.0, 0
    total, slopes = 0.0, []
    rows = max(1, _PIECE_BYTES // (4 * _width(head.module)))
    for part, wanted in zip(hidden.split(rows), target.split(rows), strict=True):
        piece = part.detach().requires_grad_(gradient)
        logits = head.finish(head.module(piece)).float()
        loss = functional.cross_entropy(logits, wanted, reduction="sum")
        if gradient:
            slopes.append(torch.autograd.grad(loss, piece)[0])
        total += float(loss.detach())
    if gradient:
        hidden.backward(torch.cat(slopes))
    return total, len(target)


_PIECE_BYTES = 64 * 2**20
"""Size of the largest piece of logits (in float32) that exists at a time."""


def _width(module: nn.Module) -> int:
    return int(getattr(module, "out_features", 0) or len(cast("Tensor", module.weight)))


def attributions(
    lm: LanguageModel,
    blocks: Blocks,
    site: str,
    measure: Measure,
    *,
    batch_tokens: int,
    name: str,
    language: str,
) -> Tensor:
    """Sum a measure of activation and gradient over the counted tokens of one language.

    The weights stay frozen: the graph begins at the site's first layer.

    Args:
        lm: The model.
        blocks: Text.
        site: Where the units are.
        measure: What to sum, per layer.
        batch_tokens: Most positions in a batch.
        name: What to call the work in the progress line.
        language: Of the text, for messages.

    Returns:
        float64 (..., L, U): the mean of the measure over counted tokens.

    Raises:
        RunError: If the model gives NaN or infinity.
    """
    place = lm.sites[site]
    head = find_head(lm)
    shape = (lm.layers, place.width)
    total: Tensor | None = None
    kept: dict[int, Tensor] = {}

    def keep(layer: int, activation: Tensor) -> Tensor:
        if activation.requires_grad:
            activation.retain_grad()
        else:
            activation = activation.detach().requires_grad_(True)
        kept[layer] = activation
        return activation

    with track(f"{name} {language}", blocks.tokens, "tokens") as bar:
        for batch in batches(blocks, batch_tokens=batch_tokens):
            kept.clear()
            with torch.enable_grad(), hook_site(lm, site, keep):
                _, number = summed_loss(lm, head, batch, gradient=True)
            counted = batch.counted.to(lm.device)
            for layer, activation in kept.items() if number else ():
                gradient = activation.grad
                if gradient is None:
                    gradient = torch.zeros_like(activation)
                found = measure(
                    layer, activation.detach()[counted].float(), gradient[counted].float()
                )
                if total is None:
                    total = torch.zeros((*found.shape[:-1], *shape), dtype=torch.float64)
                total[..., layer, :] += found.double().cpu()
            bar.advance(int(batch.counted.sum()))
    if total is None:
        raise InputError(
            f"text of {language!r} holds no token that is predicted from one before it: give more."
        )
    check_finite(lm, language, total)
    return total / max(blocks.tokens, 1)


def check_finite(lm: LanguageModel, language: str, scores: Tensor) -> None:
    """Raise :class:`RunError` if a model gave scores that are no numbers."""
    if not bool(torch.isfinite(scores).all()):
        raise RunError(
            f"{lm.name} gives NaN or infinity in text of {language!r}: load it with dtype bfloat16 "
            "or float32."
        )


@torch.no_grad()
def mean_loss(
    lm: LanguageModel,
    blocks: Blocks,
    *,
    batch_tokens: int,
    site: str | None = None,
    replace: tuple[int, int, float] | None = None,
) -> float:
    """Loss in nats per counted token, as it is or with one unit's value replaced.

    Args:
        lm: The model.
        blocks: Text.
        batch_tokens: Most positions in a batch.
        site: Site of the unit.
        replace: (layer, index, value): the value is written at every counted token.
    """
    total = 0.0
    head = find_head(lm)
    for batch in batches(blocks, batch_tokens=batch_tokens):
        if site is None or replace is None:
            loss, _ = summed_loss(lm, head, batch, gradient=False)
        else:
            layer, index, value = replace
            write = _writer(index, value, batch.counted.to(lm.device))
            with hook_site(lm, site, write, layers=[layer]):
                loss, _ = summed_loss(lm, head, batch, gradient=False)
        total += loss
    return total / max(blocks.tokens, 1)


def _writer(index: int, value: float, counted: Tensor) -> Callable[[int, Tensor], Tensor]:
    """A site function that writes ``value`` over one unit at the counted tokens."""

    def write(_layer: int, activation: Tensor) -> Tensor:
        changed = activation.clone()
        changed[..., index] = changed[..., index].masked_fill(counted, value)
        return changed

    return write
