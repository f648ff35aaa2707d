"""A set of units: (layer, index) pairs, kept sorted and unique."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.models.fingerprint import same_model

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

HIDDEN = frozenset({"mlp.pre", "mlp.act", "mlp.out"})
"""Sites whose units are coordinates of the same vector."""

INSIDE = frozenset({"moe.pre", "moe.act", "moe.out"})
"""Those whose units are coordinates of the same vector of an expert."""


def same_coordinates(sites: set[str]) -> bool:
    """Whether units of these sites are coordinates of one vector."""
    return len(sites) < 2 or sites <= HIDDEN or sites <= INSIDE


class Units:
    """Units of one site, sorted by (layer, index), each at most once.

    Values are immutable by convention; the set operations ``&``, ``|``, ``-`` and ``^`` return new
    objects. Units taken from a neuron set know their site and model, so that they are refused
    elsewhere; two are equal if their layers and indices are.

    Args:
        layers: Layer of each unit, integers, shape (n,).
        indices: Position of each unit within its layer, integers, shape (n,).
        site: Site they live at, None where not known.
        model: Fingerprint of the model they were found in, None where not known.

    Raises:
        InputError: If the two differ in length, are no integers, or hold a negative number.

    Example:
        >>> Units([1, 0, 1], [5, 2, 5])
        Units(2 units in 2 layers)
    """

    __slots__ = ("indices", "layers", "model", "site")

    layers: Tensor
    """LongTensor (n,), ascending."""
    indices: Tensor
    """LongTensor (n,), ascending within a layer."""
    site: str | None
    """Site they live at, None where not known."""
    model: Mapping[str, Any] | None
    """Fingerprint of the model they were found in, None where not known."""

    def __init__(
        self,
        layers: Iterable[int] | Tensor,
        indices: Iterable[int] | Tensor,
        *,
        site: str | None = None,
        model: Mapping[str, Any] | None = None,
    ) -> None:
        first, second = _integers(layers, "layers"), _integers(indices, "indices")
        if first.shape != second.shape:
            raise InputError(
                f"units need one index per layer: {len(first)} layers, {len(second)} indices given."
            )
        if len(first):
            if int(first.min()) < 0 or int(second.min()) < 0:
                raise InputError("layers and indices of units count from 0: give no negative one.")
            pairs = torch.unique(torch.stack([first, second], dim=1), dim=0)
            first, second = pairs[:, 0].contiguous(), pairs[:, 1].contiguous()
        self.layers = first
        self.indices = second
        self.site = site
        self.model = model

    @classmethod
    def from_mask(cls, mask: Tensor) -> Units:
        """Units where a boolean tensor (layers, units) is true."""
        return cls._sorted(*torch.nonzero(mask, as_tuple=True))

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[int, int]]) -> Units:
        """Units from (layer, index) pairs, in any order."""
        listed = [(int(layer), int(index)) for layer, index in pairs]
        return cls([layer for layer, _ in listed], [index for _, index in listed])

    @classmethod
    def from_layers(cls, lists: Iterable[Iterable[int] | Tensor]) -> Units:
        """Units from one list of indices per layer."""
        tensors = [_integers(item, "indices") for item in lists]
        layers = [torch.full_like(item, layer) for layer, item in enumerate(tensors)]
        empty = torch.zeros(0, dtype=torch.long)
        return cls(torch.cat([*layers, empty]), torch.cat([*tensors, empty]))

    @classmethod
    def empty(cls) -> Units:
        """No unit."""
        return cls([], [])

    @classmethod
    def _sorted(cls, layers: Tensor, indices: Tensor) -> Units:
        made = cls.__new__(cls)
        made.layers, made.indices = layers.cpu().contiguous(), indices.cpu().contiguous()
        made.site = made.model = None
        return made

    def of(self, site: str | None, model: Mapping[str, Any] | None) -> Units:
        """The same units, said to live at a site of a model (None: not known)."""
        made = self._sorted(self.layers, self.indices)
        made.site, made.model = site, model
        return made

    def _with(self, other: Units, keep: Tensor) -> Units:
        """Some of these units, after a look whether the other's are of the same place."""
        return self._sorted(self.layers[keep], self.indices[keep]).of(*self._origin(other))

    def _origin(self, other: Units) -> tuple[str | None, Mapping[str, Any] | None]:
        """Site and model of units of both.

        Raises:
            InputError: If they are of different ones.
        """
        sites = {site for site in (self.site, other.site) if site is not None}
        if not same_coordinates(sites):
            raise InputError(
                f"units of different sites have nothing in common ({self.site}, "
                f"{other.site}): take units of one site."
            )
        if not same_model(self.model, other.model):
            raise InputError(
                "units of different models are not the same units: combine units of one model, or "
                "compare sets by overlap."
            )
        return self.site or other.site, self.model or other.model

    def check_origin(self, lm: LanguageModel, site: str) -> None:
        """Raise :class:`InputError` if these units were found at another site or in another model.

        Coordinates of the MLP's hidden vector (``mlp.pre``, ``mlp.act``, ``mlp.out``) are the same
        at all three sites, and so are those of an expert's (``moe.pre``, ``moe.act``, ``moe.out``).

        Args:
            lm: The model they are to be used in.
            site: The site they are to be used at.
        """
        if self.site is not None and not same_coordinates({self.site, site}):
            raise InputError(
                f"these units were found at {self.site!r} and are no units of {site!r}: use them "
                f"at {self.site!r}, or identify at {site!r}."
            )
        if self.model and not same_model(self.model, lm.fingerprint):
            raise InputError(
                f"these units were found in model {self.model.get('name', 'another')!r}, whose "
                f"weights differ from those of {lm.name!r}: identify again on this model."
            )

    def mask(self, shape: tuple[int, int]) -> Tensor:
        """BoolTensor of ``shape`` (layers, units), true at the units.

        Raises:
            InputError: If a unit lies outside the shape.
        """
        self.check(shape)
        mask = torch.zeros(shape, dtype=torch.bool)
        mask[self.layers, self.indices] = True
        return mask

    def check(self, shape: tuple[int, int]) -> None:
        """Raise :class:`InputError` if a unit lies outside ``shape`` (layers, units)."""
        if len(self) == 0:
            return
        layer, index = int(self.layers.max()), int(self.indices.max())
        if layer >= shape[0] or index >= shape[1]:
            raise InputError(
                f"a unit (up to layer {layer}, index {index}) lies outside a model of "
                f"{shape[0]} layers x {shape[1]} units: it is of another model; take "
                "the one it was found in."
            )

    def by_layer(self, layers: int) -> list[Tensor]:
        """One LongTensor of indices per layer, ``layers`` of them, empty where there is no unit.

        Raises:
            InputError: If a unit lies in a later layer.
        """
        if len(self) and int(self.layers.max()) >= layers:
            raise InputError(
                f"a unit lies in layer {int(self.layers.max())}, the model has {layers} layers: "
                "they are of another model; take the one they were found in."
            )
        counts = torch.bincount(self.layers, minlength=layers)
        return list(self.indices.split(counts.tolist()))

    def in_layers(self, layers: Iterable[int]) -> Units:
        """Only the units in the given layers."""
        keep = torch.isin(self.layers, torch.tensor(sorted(set(layers)), dtype=torch.long))
        return self._with(self, keep)

    def pairs(self) -> list[tuple[int, int]]:
        """(layer, index) of each unit, ascending."""
        return list(zip(self.layers.tolist(), self.indices.tolist(), strict=True))

    def isin(self, other: Units) -> Tensor:
        """BoolTensor (n,): which of these units are in ``other`` too."""
        width = 1 + max(
            (int(part.indices.max()) for part in (self, other) if len(part)),
            default=0,
        )
        return torch.isin(self.layers * width + self.indices, other.layers * width + other.indices)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.pairs())

    def __contains__(self, pair: object) -> bool:
        if not isinstance(pair, tuple) or len(pair) != 2:
            return False
        return bool(((self.layers == pair[0]) & (self.indices == pair[1])).any())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Units):
            return NotImplemented
        return torch.equal(self.layers, other.layers) and torch.equal(self.indices, other.indices)

    def __hash__(self) -> int:
        return hash((tuple(self.layers.tolist()), tuple(self.indices.tolist())))

    def __and__(self, other: Units) -> Units:
        return self._with(other, self.isin(other))

    def __sub__(self, other: Units) -> Units:
        return self._with(other, ~self.isin(other))

    def __or__(self, other: Units) -> Units:
        site, model = self._origin(other)
        layers = torch.cat([self.layers, other.layers])
        return Units(layers, torch.cat([self.indices, other.indices]), site=site, model=model)

    def __xor__(self, other: Units) -> Units:
        return (self - other) | (other - self)

    def __repr__(self) -> str:
        return f"Units({len(self)} units in {len(self.layers.unique())} layers)"


def _integers(values: Iterable[int] | Tensor, name: str) -> Tensor:
    tensor = values if isinstance(values, Tensor) else torch.as_tensor(list(values))
    if tensor.numel() == 0:
        return torch.zeros(0, dtype=torch.long)
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise InputError(
            f"{name} of units must be a flat list of integers, "
            f"got {tensor.dtype} of shape {tuple(tensor.shape)}."
        )
    return tensor.detach().to("cpu", torch.long)
