"""One site of a model: its modules, and which numbers of theirs are the units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, overload

import torch
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.models.attention import Columns
from langneurons.models.experts import Experts

SITES = (
    *("mlp.act", "mlp.pre", "mlp.out"),
    *("attn.out", "attn.head", "attn.q", "attn.k", "attn.v"),
    "resid",
    "moe.router",
    *("moe.act", "moe.pre", "moe.out"),
)
ROUTED = ("moe.act", "moe.pre", "moe.out")
"""Sites whose units have values on some tokens only."""

T = TypeVar("T")


class Units(Protocol):
    """What a site needs of a set of units (they live in a room to the right)."""

    layers: Tensor
    indices: Tensor

    def check(self, shape: tuple[int, int]) -> None:
        """Refuse units outside (layers, units)."""

    def pairs(self) -> list[tuple[int, int]]:
        """(layer, index) of each unit."""


class Parts(Sequence[T]):
    """One part of each layer; asking for one that a layer lacks is refused.

    Args:
        items: The parts, None where there is none.
        what: What they are, for the message.
        model: Name of the model's class.

    Attributes:
        items: As given.
    """

    def __init__(self, items: Sequence[T | None], what: str, model: str) -> None:
        self.items, self._what, self._model = tuple(items), what, model

    @property
    def present(self) -> list[T]:
        """Those that are there."""
        return [item for item in self.items if item is not None]

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        item = self.items[index]
        if item is None:
            raise InputError(
                f"layer {index} of {self._model} has no {self._what}: choose units of other layers."
            )
        return item


@dataclass(frozen=True)
class Site:
    """One place in the layers.

    Attributes:
        name: One of :data:`SITES`.
        modules: The hooked module of each layer.
        side: Whether the units are the module's input or its output.
        widths: Units of each layer, 0 for layers without the site.
        layer_columns: Per layer, columns of the tensor that are the units, int64 (width,), for
            projections that compute several things at once; None where all columns are.
        heads: Number of heads whose norms are the units (``attn.head``), else None.
        flat: Whether the model hands the module of some layer (batch x sequence, units) instead of
            (batch, sequence, units), as OPT does, and shared experts do.
        model: Name of the model's class, for messages.
        experts: Per layer, the experts routed to (``moe.*``), else empty.
        inner: Units in each expert, where the units live inside experts (``moe.act`` and its like),
            else None.
    """

    name: str
    modules: Parts[nn.Module]
    side: Literal["input", "output"]
    widths: tuple[int, ...]
    layer_columns: tuple[Columns, ...]
    heads: int | None = None
    flat: bool = False
    model: str = ""
    experts: tuple[Experts | None, ...] = ()
    inner: int | None = None

    @property
    def chosen(self) -> int:
        """Most experts that a token is sent to in a layer; 0 where there are none."""
        return max((item.chosen for item in self.experts if item is not None), default=0)

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that have the site."""
        return tuple(number for number, width in enumerate(self.widths) if width)

    @property
    def widest(self) -> int:
        """Units of the widest layer."""
        return max(self.widths)

    @property
    def width(self) -> int:
        """Units per layer, where every layer has as many.

        Raises:
            InputError: If layers differ, which tensors (layers, units) cannot say.
        """
        if len(set(self.widths)) > 1:
            most = self.widths.index(self.widest)
            other = next(n for n, width in enumerate(self.widths) if width != self.widest)
            raise InputError(
                f"the layers of {self.model} differ at {self.name!r}: layer {most} has "
                f"{self.widths[most]} units, layer {other} has {self.widths[other]}. Statistics "
                "need layers that are alike: use another site; interventions on units of your own "
                "work at this one."
            )
        return self.widths[0]

    @property
    def common(self) -> int:
        """Units of each layer that has the site, where these have as many; others have 0.

        Raises:
            InputError: As for :attr:`width`.
        """
        alike = len({width for width in self.widths if width}) == 1
        return self.widest if alike else self.width

    def check(self, units: Units) -> None:
        """Raise :class:`InputError` if a unit lies outside its layer."""
        units.check((len(self.widths), self.widest))
        widths = torch.tensor(self.widths)[units.layers]
        outside = (units.indices >= widths).nonzero()
        if len(outside):
            layer, index = units.pairs()[int(outside[0])]
            raise InputError(
                f"no unit ({layer}, {index}): layer {layer} of {self.model} has "
                f"{self.widths[layer]} units at {self.name!r}; take units found in this model."
            )

    @property
    def columns(self) -> Columns:
        """Columns of the units, where they are the same in every layer."""
        return self.layer_columns[self.layers[0]]

    @property
    def shared(self) -> bool:
        """Whether layers share a module, so that it runs in each of them."""
        present = self.modules.present
        return len({id(module) for module in present}) < len(present)
