"""Units inside experts: what is known of them on the tokens that were routed to their expert.

Two readings: of all tokens (a unit is 0 where its expert does not run, as it adds nothing there)
and of routed tokens alone. What is kept is of all tokens, as at any other site, and besides, for
each expert, how many were routed and, for each unit, its extremes among these; the other reading
follows exactly:

    m_r = m T / n,      S_r = S - n m_r^2 (1 - n / T),

with T tokens, n of them routed, m and S mean and sum of squared deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langneurons.statistics.moments import Moments, summarize

if TYPE_CHECKING:
    from langneurons.models.expert_units import Routed
    from langneurons.models.site import Site

BYTES_PER_UNIT = 16
"""Memory of :class:`Routing` for one unit: two float64."""

_LABEL = 2  # columns that say which expert's values follow: bfloat16 holds whole numbers to 256
_BASE = 256
_NONE = _BASE * _BASE - 1


@dataclass(frozen=True, eq=False)
class Routing:
    """Tokens routed to each expert, and the extremes of its units on them.

    Attributes:
        tokens: int64 (..., E).
        minimum: float64 (..., U), U = E x inner; infinity where no token was routed.
        maximum: float64 (..., U); minus infinity there.
    """

    tokens: Tensor
    minimum: Tensor
    maximum: Tensor

    @classmethod
    def empty(cls, experts: int, inner: int) -> Routing:
        """Of no token, for one layer."""
        bounds = torch.full((2, experts * inner), float("inf"), dtype=torch.float64)
        return cls(torch.zeros(experts, dtype=torch.int64), bounds[0], -bounds[1])

    @property
    def inner(self) -> int:
        """Units in each expert."""
        return self.minimum.shape[-1] // self.tokens.shape[-1]

    def by_unit(self) -> Tensor:
        """Tokens routed to each unit's expert, float64 (..., U)."""
        return self.tokens.double().repeat_interleave(self.inner, dim=-1)

    def merge(self, other: Routing) -> Routing:
        """Of both texts together."""
        return Routing(
            self.tokens + other.tokens,
            torch.minimum(self.minimum, other.minimum),
            torch.maximum(self.maximum, other.maximum),
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {
            "routed_tokens": self.tokens,
            "routed_minimum": self.minimum,
            "routed_maximum": self.maximum,
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Routing:
        """Inverse of :meth:`tensors`."""
        return cls(*(tensors[f"routed_{name}"] for name in ("tokens", "minimum", "maximum")))

    def to(self, device: torch.device | str) -> Routing:
        """The same on another device."""
        return Routing.from_tensors({n: tensor.to(device) for n, tensor in self.tensors().items()})

    def layer(self, index: int | Tensor) -> Routing:
        """Of one layer, or some, of (L, ...) tensors."""
        return Routing(self.tokens[index], self.minimum[index], self.maximum[index])


def stack_routing(layers: list[Routing]) -> Routing:
    """(L, ...) tensors on the CPU from those of each layer."""
    parts = [item.tensors() for item in layers]
    return Routing.from_tensors(
        {name: torch.stack([part[name].cpu() for part in parts]) for name in parts[0]}
    )


def of_routed(moments: Moments, routing: Routing) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over routed tokens, float64 (..., U); NaN where there are none.

    Args:
        moments: Over all tokens.
        routing: Of the same tokens.
    """
    n, total = routing.by_unit(), moments.tokens
    mean = moments.mean * (total / n)
    squares = moments.squares - n * mean.square() * (1 - n / total)
    return mean, (squares.clamp_min(0) / n).sqrt()


def reduce_routed(
    routed: Routed, counted: Tensor, experts: int, tokens: int
) -> tuple[Moments, Routing]:
    """Counts and moments of one batch of one layer.

    Args:
        routed: The rows.
        counted: bool (batch x sequence,), the tokens that count.
        experts: Number of experts.
        tokens: How many tokens count.

    Returns:
        Moments over all counted tokens, (U,), and the routing among them.
    """
    values = routed.values
    rows = counted[routed.tokens].nonzero()[:, 0]
    order = rows[torch.argsort(routed.experts[rows], stable=True)]
    n = torch.bincount(routed.experts[rows], minlength=experts)
    reduced = _one_by_one if values.device.type == "cpu" else _together
    count, mean, squares, absolute, low, high = reduced(values, order, n)
    share = (n.double() / tokens)[:, None]
    squares = squares + n.double()[:, None] * mean.square() * (1 - share)
    everywhere = (n == tokens)[:, None]
    routing = Routing(n, low.flatten(), high.flatten())
    zero = torch.zeros_like(low)
    low = torch.where(everywhere, low, torch.minimum(low, zero))
    high = torch.where(everywhere, high, torch.maximum(high, zero))
    parts = (count, mean * share, squares, absolute, low, high)
    return Moments(tokens, *(part.flatten() for part in parts)), routing


_Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _blank(values: Tensor, experts: int) -> _Parts:
    shape = (experts, values.shape[1])
    floats = torch.zeros((5, *shape), dtype=torch.float64, device=values.device)
    floats[3], floats[4] = float("inf"), float("-inf")
    count = torch.zeros(shape, dtype=torch.int64, device=values.device)
    return (count, *floats)


def _one_by_one(values: Tensor, order: Tensor, n: Tensor) -> _Parts:
    """Count, mean, squares, absolute sum, minimum and maximum on each expert's rows, (E, inner)."""
    found = _blank(values, len(n))
    start = 0
    for expert, size in enumerate(n.tolist()):
        if size:
            rows = order[start : start + size]
            seen = Moments.of(summarize(values, rows, None), size)
            for whole, part in zip(found, seen.tensors().values(), strict=True):
                whole[expert] = part
        start += size
    return found


def _together(values: Tensor, order: Tensor, n: Tensor) -> _Parts:
    """The same for a device on which each call costs more than its work."""
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    count, mean, squares, absolute, low, high = _blank(values, len(n))
    expert = torch.repeat_interleave(torch.arange(len(n), device=values.device), n)
    x = values[order].to(dtype)

    def summed(part: Tensor) -> Tensor:
        return part.new_zeros(mean.shape).index_add_(0, expert, part)

    each = n.clamp_min(1)[:, None].to(dtype)
    count += summed((x > 0).to(dtype)).round().to(torch.int64)
    absolute += summed(x.abs())
    low.copy_(low.to(dtype).index_reduce_(0, expert, x, "amin"))
    high.copy_(high.to(dtype).index_reduce_(0, expert, x, "amax"))
    centre = summed(x) / each
    x -= centre[expert]
    rest = summed(x).double()
    mean += centre.double() + rest / each.double()
    squares += (summed(x.square_()).double() - rest.square() / each.double()).clamp_min(0)
    return count, mean, squares, absolute, low, high


def row_width(place: Site) -> int:
    """Columns of a kept token's row: the units, or those of the experts it was sent to."""
    if place.inner is None:
        return place.common
    return place.chosen * (_LABEL + place.inner)


def pack(routed: Routed, chosen: Tensor, slots: int) -> Tensor:
    """Rows of kept tokens: for each expert that ran, its number in two columns, then its units.

    Args:
        routed: The rows of a batch.
        chosen: int64 (m,), the tokens kept.
        slots: Most experts of a token.

    Returns:
        (m, slots x (2 + inner)) in the dtype of the values; experts of a token ascend, what is left
        over is marked as of none.
    """
    values, inner = routed.values, routed.values.shape[1]
    size = int(routed.tokens.max()) + 1 if len(routed.tokens) else 0
    size = max(size, int(chosen.max()) + 1 if len(chosen) else 0)
    place = torch.full((size,), -1, dtype=torch.int64, device=values.device)
    place[chosen] = torch.arange(len(chosen), device=values.device)
    rows = (place[routed.tokens] >= 0).nonzero()[:, 0]
    row, expert = place[routed.tokens[rows]], routed.experts[rows]
    order = torch.argsort(row * _NONE + expert)
    rows, row, expert = rows[order], row[order], expert[order]
    each = torch.bincount(row, minlength=len(chosen))
    first = each.cumsum(0) - each
    slot = torch.arange(len(row), device=values.device) - first[row]
    packed = values.new_zeros((len(chosen), slots, _LABEL + inner))
    packed[:, :, :_LABEL] = _BASE - 1
    packed[row, slot, 0] = (expert // _BASE).to(values.dtype)
    packed[row, slot, 1] = (expert % _BASE).to(values.dtype)
    packed[row, slot, _LABEL:] = values[rows]
    return packed.flatten(1)


def unpack(rows: Tensor, inner: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse of :func:`pack`.

    Args:
        rows: (m, slots x (2 + inner)).
        inner: Units in each expert.

    Returns:
        Kept token and expert, int64 (n,) each, and values (n, inner), as they lie in ``rows``.
    """
    parts = rows.unflatten(1, (-1, _LABEL + inner))
    expert = parts[:, :, 0].long() * _BASE + parts[:, :, 1].long()
    row, slot = (expert != _NONE).nonzero(as_tuple=True)
    return row, expert[row, slot], parts[row, slot, _LABEL:]


def unpack_expert(rows: Tensor, inner: int, expert: int) -> tuple[Tensor, Tensor]:
    """Kept tokens that were sent to one expert, int64 (n,), and its units there (n, inner)."""
    parts = rows.unflatten(1, (-1, _LABEL + inner))
    label = parts[:, :, :_LABEL].long()
    row, slot = (label[:, :, 0] * _BASE + label[:, :, 1] == expert).nonzero(as_tuple=True)
    return row, parts[row, slot, _LABEL:]
