"""Counts and moments of activations, accumulated batch by batch and merged exactly or soundly.

A batch is reduced in its own precision (float32 for half-precision models) around a shift close to
the mean, so that squares do not cancel; batches are then merged in float64 by the pairwise formula
of Chan, Golub and LeVeque (1979).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

BYTES_PER_UNIT = 48
"""Memory of :class:`Moments` for one unit: one int64 and five float64."""

_CHUNK = 1 << 18  # elements reduced at once on a CPU, so that all passes but one find them cached
_ACCELERATOR_CHUNK = 1 << 24
_SHIFT_ROWS = 16


class Summary(NamedTuple):
    """One batch of one layer: (units,) vectors in float32 (float64 for float64 activations).

    ``total`` and ``square`` are sums of ``x - shift`` and its square.
    """

    positive: Tensor
    shift: Tensor
    total: Tensor
    square: Tensor
    absolute: Tensor
    minimum: Tensor
    maximum: Tensor


def summarize(activations: Tensor, rows: Tensor | None, shift: Tensor | None) -> Summary:
    """Reduce a batch to its counts and moments, reading the activations once.

    Args:
        activations: (tokens, units), any floating dtype.
        rows: int64 indices of the tokens to use, None for all; at least one.
        shift: (units,) a value near the mean; None takes the mean of the first few tokens.

    Returns:
        The sums; exact in ``positive`` for fewer than 2^24 tokens.
    """
    dtype = torch.float64 if activations.dtype == torch.float64 else torch.float32
    device, units = activations.device, activations.shape[1]
    tokens = activations.shape[0] if rows is None else len(rows)
    centre = (first_shift(activations, rows) if shift is None else shift).to(dtype)
    chunk = _CHUNK if device.type == "cpu" else _ACCELERATOR_CHUNK
    step = min(tokens, max(1, chunk // max(1, units)))
    values = torch.empty((step, units), dtype=dtype, device=device)
    spare = torch.empty_like(values)
    positive, total, square, absolute = torch.zeros((4, units), dtype=dtype, device=device)
    minimum = torch.full((units,), float("inf"), dtype=dtype, device=device)
    maximum = torch.full((units,), float("-inf"), dtype=dtype, device=device)
    for start in range(0, tokens, step):
        size = min(step, tokens - start)
        part = activations[start : start + size]
        if rows is not None:
            part = activations.index_select(0, rows[start : start + size])
        x, y = values[:size], spare[:size]
        x.copy_(part)
        torch.minimum(minimum, x.amin(0), out=minimum)
        torch.maximum(maximum, x.amax(0), out=maximum)
        torch.sub(x, centre, out=y)
        total += y.sum(0)
        square += y.square_().sum(0)
        torch.abs(x, out=y)
        absolute += y.sum(0)
        positive += x.gt_(0).sum(0)  # in place: ones and zeros of the same dtype add fastest
    return Summary(positive, centre, total, square, absolute, minimum, maximum)


def first_shift(activations: Tensor, rows: Tensor | None) -> Tensor:
    """Mean of the first few tokens used, (units,): near the mean, and cheap."""
    if rows is None:
        first = activations[:_SHIFT_ROWS]
    else:
        first = activations.index_select(0, rows[:_SHIFT_ROWS])
    return first.to(torch.float64 if first.dtype == torch.float64 else torch.float32).mean(0)


@dataclass(eq=False)
class Moments:
    """Counts and moments of any number of tokens; tensors of one shape, (units,) or (L, units).

    Attributes:
        tokens: Tokens seen.
        count: int64, tokens with an activation above 0.
        mean: float64.
        squares: float64, sum of squared deviations from the mean.
        absolute: float64, sum of absolute values.
        minimum: float64.
        maximum: float64.
    """

    tokens: int
    count: Tensor
    mean: Tensor
    squares: Tensor
    absolute: Tensor
    minimum: Tensor
    maximum: Tensor

    @classmethod
    def empty(cls, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Moments:
        """Moments of no token."""

        def full(value: float) -> Tensor:
            return torch.full(shape, value, dtype=torch.float64, device=device)

        count = torch.zeros(shape, dtype=torch.int64, device=device)
        infinity = float("inf")
        return cls(0, count, full(0), full(0), full(0), full(infinity), full(-infinity))

    @classmethod
    def of(cls, summary: Summary, tokens: int) -> Moments:
        """Moments of one batch of ``tokens`` tokens."""
        total, square = summary.total.double(), summary.square.double()
        return cls(
            tokens,
            summary.positive.round().to(torch.int64),
            summary.shift.double() + total / tokens,
            (square - total.square() / tokens).clamp_min(0),
            summary.absolute.double(),
            summary.minimum.double(),
            summary.maximum.double(),
        )

    def merge(self, other: Moments) -> Moments:
        """Moments of both together; commutative to the last bit, associative up to rounding."""
        tokens = self.tokens + other.tokens
        if self.tokens == 0 or other.tokens == 0:
            return other if self.tokens == 0 else self
        mean = (self.mean * self.tokens + other.mean * other.tokens) / tokens
        between = (self.mean - other.mean).square() * (self.tokens * (other.tokens / tokens))
        if self.tokens < other.tokens:
            between = (self.mean - other.mean).square() * (other.tokens * (self.tokens / tokens))
        return Moments(
            tokens,
            self.count + other.count,
            mean,
            self.squares + other.squares + between,
            self.absolute + other.absolute,
            torch.minimum(self.minimum, other.minimum),
            torch.maximum(self.maximum, other.maximum),
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tokens"}

    @classmethod
    def from_tensors(cls, tokens: int, tensors: Mapping[str, Tensor]) -> Moments:
        """Inverse of :meth:`tensors`."""
        return cls(tokens, **{f.name: tensors[f.name] for f in fields(cls) if f.name != "tokens"})

    def to(self, device: torch.device | str) -> Moments:
        """The same on another device."""
        return Moments.from_tensors(
            self.tokens, {name: tensor.to(device) for name, tensor in self.tensors().items()}
        )

    def layer(self, index: int) -> Moments:
        """Moments of one layer of (L, units) moments."""
        return Moments.from_tensors(
            self.tokens, {name: tensor[index] for name, tensor in self.tensors().items()}
        )


def stack(layers: list[Moments]) -> Moments:
    """Moments (L, units) on the CPU from those of each layer."""
    moved = [layer.to("cpu") for layer in layers]
    names = moved[0].tensors()
    return Moments.from_tensors(
        moved[0].tokens,
        {name: torch.stack([layer.tensors()[name] for layer in moved]) for name in names},
    )
