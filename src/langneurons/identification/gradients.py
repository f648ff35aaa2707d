"""What gradient methods read, taken once from a model and a text and kept while both stay."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.artifacts import digest
from langneurons.identification.attribution import attributions
from langneurons.models.running import head_digest, running_state

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.models import LanguageModel

KEPT_BYTES = 128 * 2**20
"""Memory for what is kept of one model; the oldest goes first."""

_kept: weakref.WeakKeyDictionary[Any, OrderedDict[str, Tensor]] = weakref.WeakKeyDictionary()
"""Backbone to what was taken from it, by a digest of everything that it depends on."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Means over the counted tokens of one language, float64 (L, U) each.

    a is the unit's activation, L the loss (nats, summed over a block).

    Attributes:
        slope: dL/da.
        product: a dL/da.
        size: abs(a dL/da).
    """

    slope: Tensor
    product: Tensor
    size: Tensor


def gradients(
    lm: LanguageModel, blocks: Blocks, site: str, *, batch_tokens: int, name: str, language: str
) -> Gradients:
    """Means of slope and activation, of which methods with other shares and quotas are made.

    Complexity: one forward and one backward pass over the text, or none where the same model has
    read the same text before.

    Args:
        lm: The model, in evaluation mode.
        blocks: Text.
        site: Where the units are.
        batch_tokens: Most positions in a batch.
        name: What to call the work in the progress line.
        language: Of the text, for messages.

    Raises:
        RunError: If the model gives NaN or infinity.
    """

    def all_three(_layer: int, activation: Tensor, slope: Tensor) -> Tensor:
        product = activation * slope
        return torch.stack([slope.sum(0), product.sum(0), product.abs().sum(0)])

    def take() -> Tensor:
        return attributions(
            lm, blocks, site, all_three, batch_tokens=batch_tokens, name=name, language=language
        )

    return Gradients(*_once(lm, (blocks.fingerprint, site, batch_tokens), take))


def rate_above(
    lm: LanguageModel,
    blocks: Blocks,
    site: str,
    threshold: float,
    *,
    batch_tokens: int,
    name: str,
    language: str,
) -> Tensor:
    """Share of the counted tokens on which abs(a dL/da) exceeds a threshold, float64 (L, U).

    Args:
        lm: The model, in evaluation mode.
        blocks: Text.
        site: Where the units are.
        threshold: What is to be exceeded.
        batch_tokens: Most positions in a batch.
        name: What to call the work in the progress line.
        language: Of the text, for messages.

    Raises:
        RunError: If the model gives NaN or infinity.
    """

    def above(_layer: int, activation: Tensor, slope: Tensor) -> Tensor:
        return ((activation * slope).abs() > threshold).float().sum(0)

    def take() -> Tensor:
        return attributions(
            lm, blocks, site, above, batch_tokens=batch_tokens, name=name, language=language
        )

    return _once(lm, (blocks.fingerprint, site, batch_tokens, float(threshold)), take)


def _once(lm: LanguageModel, about: tuple[Any, ...], take: Callable[[], Tensor]) -> Tensor:
    """What ``take`` gives, or what it gave for the same model and arguments."""
    key = digest(
        lm.fingerprint["sha256"], running_state(lm), head_digest(lm), str(lm.dtype),
        str(lm.device), list(about),
    )  # fmt: skip
    kept = _kept.setdefault(lm.backbone, OrderedDict())
    if key not in kept:
        kept[key] = take()
    kept.move_to_end(key)
    while len(kept) > 1 and sum(item.nbytes for item in kept.values()) > KEPT_BYTES:
        kept.popitem(last=False)
    return kept[key]
