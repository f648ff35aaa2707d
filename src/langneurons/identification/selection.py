"""What the methods share: percentiles, entropy, cut-offs and quotas, as functions on tensors.

Shapes: K languages, L layers, U units per layer. All in float64 unless said otherwise.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.statistics.options import check_integer as check_integer

Percentile = Literal["kthvalue", "interpolated"]
Cutoff = Literal["count", "value"]


def check_share(name: str, value: float, *, ends: bool = False) -> None:
    """Raise :class:`InputError` unless a number lies between 0 and 1 (or at an end, if allowed)."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or math.isnan(value) or not (0 <= value <= 1 if ends else 0 < value < 1):
        raise InputError(f"{name} must be a share between 0 and 1 (such as 0.95), got {value!r}.")


def percentile(values: Tensor, share: float, rule: Percentile = "kthvalue") -> float:
    """A percentile of all numbers in a tensor.

    Args:
        values: Any shape, no NaN.
        share: 0 to 1.
        rule: ``"kthvalue"``: the k-th smallest with k = round(n x share), as the original LAPE
            release; ``"interpolated"``: linear interpolation between neighbours (numpy's default),
            as the code of arXiv 2503.17456.

    Returns:
        The percentile. O(n).
    """
    check_share("a percentile", share, ends=True)
    flat = values.detach().reshape(-1).numpy()
    if rule == "interpolated":
        with np.errstate(invalid="ignore"):
            return float(np.quantile(flat, share))
    k = min(max(round(flat.size * share), 1), flat.size)
    return float(np.partition(flat, k - 1)[k - 1])


def entropy(weights: Tensor) -> Tensor:
    """Entropy (nats) over the first axis of non-negative weights, each unit's normalised to one.

    Args:
        weights: (K, ...), not negative.

    Returns:
        (...): between 0 and ln K. A unit whose weights are all zero counts as uniform, ln K: it
        tells no language from another. O(K) a unit.
    """
    total = weights.sum(0)
    dead = total <= 0
    share = weights / torch.where(dead, torch.ones_like(total), total)
    result = -torch.special.xlogy(share, share).sum(0)
    return torch.where(dead, torch.full_like(result, math.log(len(weights))), result)


def lowest(score: Tensor, count: int) -> Tensor:
    """Mask of the ``count`` smallest finite numbers; ties go to the unit that comes first.

    Args:
        score: Any shape; entries that are +inf or NaN are never taken.
        count: How many; fewer are taken if fewer are finite below +inf.

    Returns:
        BoolTensor of the same shape.
    """
    flat = score.reshape(-1)
    allowed = flat < torch.inf  # false for NaN too
    count = min(count, int(allowed.sum()))
    chosen = torch.zeros_like(allowed)
    if count > 0:
        bounded = torch.where(allowed, flat, torch.full_like(flat, torch.inf))
        bar = float(np.partition(bounded.numpy(), count - 1)[count - 1])
        chosen = bounded < bar
        ties = torch.nonzero(bounded == bar).reshape(-1)
        chosen[ties[: count - int(chosen.sum())]] = True
    return chosen.reshape(score.shape)


def highest(score: Tensor, count: int) -> Tensor:
    """Mask of the ``count`` largest numbers above -inf; ties go to the unit that comes first."""
    return lowest(-score, count)


def amount(name: str, value: float, of: int) -> int:
    """A number of units from a share (float, 0 to 1, rounded, at least 1) or a count (int).

    Args:
        name: Parameter's name, for the message.
        value: The user's value.
        of: Units that a share refers to.

    Raises:
        InputError: If the value is no share and no count from 1 to ``of``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} must be a share of the units or their number, got {value!r}.")
    if isinstance(value, int):
        count = value
    elif 0 < value <= 1:
        count = max(1, round(value * of))
    else:
        raise InputError(f"{name} as a share must lie between 0 and 1, got {value!r}.")
    if not 0 < count <= of:
        raise InputError(
            f"{name}={value!r} stands for {count} of {of} units: choose a number from 1 to {of}."
        )
    return count


def take(
    scores: Tensor, per_language: float | None = None, per_layer: float | None = None
) -> Tensor:
    """The best units of one language under quotas.

    Args:
        scores: (L, U), higher is more of the language's own; -inf where a unit is not eligible.
        per_language: At most this many (int) or this share of all units (float).
        per_layer: At most this many in each layer, or this share of a layer.

    Returns:
        BoolTensor (L, U). With both quotas the layers are cut first. Ties go to the first unit.
    """
    layers, units = scores.shape
    kept = scores
    if per_layer is not None:
        count = amount("per_layer", per_layer, units)
        mask = torch.stack([highest(row, count) for row in scores])
        kept = torch.where(mask, scores, torch.full_like(scores, -torch.inf))
    if per_language is None:
        return kept > -torch.inf
    return highest(kept, amount("per_language", per_language, layers * units))


def take_top(scores: dict[str, Tensor], top: float) -> dict[str, Tensor]:
    """The ``top`` share (float) or number (int) of all units, by score, for each language."""
    return {
        language: highest(score, amount("top", top, score.numel()))
        for language, score in scores.items()
    }
