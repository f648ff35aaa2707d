"""Gradient attribution, then the LAPE rule on it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from langneurons.data import Blocks
from langneurons.errors import InputError
from langneurons.identification.attribution import to_blocks
from langneurons.identification.gradients import gradients, rate_above
from langneurons.identification.method import Found, ModelInput, method
from langneurons.identification.methods.lape import entropy_rule
from langneurons.identification.selection import Cutoff, Percentile, check_share

Attribution = Literal["mean", "rate"]


@method("gradient", needs="model")
def gradient(
    given: ModelInput,
    *,
    site: str = "mlp.act",
    measure: Attribution = "mean",
    threshold: float = 0.7,
    top: float = 0.01,
    filter: float = 0.95,
    bar: float = 0.95,
    percentile: Percentile = "kthvalue",
    cutoff: Cutoff = "count",
    block: int = 256,
    tokens: int | None = None,
    batch_tokens: int = 1024,
) -> Found:
    """Units that the prediction depends on in few languages, by gradient.

    G_k(u) = mean over tokens of language k of abs(a dL/da), the first-order change of the loss L
    (nats, summed over a block) when the unit is set to 0 at that token; or, with
    ``measure="rate"``, the share of tokens on which it exceeds ``threshold``. The LAPE rule then
    runs on G in place of the activation probability.

    Source: kinit-sk/language-neuron-detection (2026); they also use it on the outputs of the
    query, key and value projections (``site``), with a threshold of 0.7 on the absolute value.

    Complexity: one forward and one backward pass over the text, none where the same model has just
    read it (:mod:`langneurons.identification.gradients`); memory for the activations of one batch.

    Args:
        given: Model, whose weights stay frozen, and texts.
        site: Site of the units.
        measure: ``"mean"`` or ``"rate"``.
        threshold: For the rate.
        top: Share or number of all units to take, as in LAPE.
        filter: As in LAPE.
        bar: As in LAPE.
        percentile: As in LAPE.
        cutoff: As in LAPE.
        block: Tokens in a block, where texts are given.
        tokens: Stop each language after so many tokens; None takes all.
        batch_tokens: Most positions in a batch.

    Raises:
        InputError: If a choice or share is out of range.
    """
    lm = given.lm
    check_share("filter", filter, ends=True)
    check_share("bar", bar, ends=True)
    if threshold < 0:
        raise InputError(f"threshold must not be negative, got {threshold}.")

    def size(language: str, blocks: Blocks) -> Tensor:
        if measure == "rate":
            return rate_above(
                lm, blocks, site, threshold,
                batch_tokens=batch_tokens, name="gradient", language=language,
            )  # fmt: skip
        return gradients(
            lm, blocks, site, batch_tokens=batch_tokens, name="gradient", language=language
        ).size

    texts = to_blocks(lm, given.texts, block, tokens)
    weights = torch.stack([size(language, blocks) for language, blocks in texts.items()])
    return entropy_rule(
        weights, tuple(given.texts), top=top, filter=filter, bar=bar, rule=percentile, cutoff=cutoff
    )
