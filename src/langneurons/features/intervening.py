"""Changing features while the model runs, the autoencoder's error kept as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from langneurons.errors import InputError, unknown
from langneurons.models import hook_site

if TYPE_CHECKING:
    from langneurons.features.autoencoder import Autoencoder
    from langneurons.identification import Units
    from langneurons.models import LanguageModel

Mode = Literal["set", "add", "multiply"]


@dataclass(frozen=True, eq=False)
class FeatureChange:
    """What is done to some features of one layer.

    Attributes:
        index: int64 (n,), the features.
        value: float32 (n,) or (), what is written, added or multiplied with.
        mode: ``set``, ``add`` or ``multiply``.
    """

    index: Tensor
    value: Tensor
    mode: Mode = "set"

    def __post_init__(self) -> None:
        if self.mode not in ("set", "add", "multiply"):
            raise unknown("mode", self.mode, ("set", "add", "multiply"))

    def apply(self, coder: Autoencoder, x: Tensor) -> Tensor:
        """X + (z' - z) W_dec: only the change passes the decoder, the error x - x' stays.

        Args:
            coder: The autoencoder.
            x: Activations (..., d).
        """
        z = coder.encode(x)[..., self.index]
        value = self.value.to(z.device)
        if self.mode == "set":
            new = value.expand(z.shape)
        else:
            new = z + value if self.mode == "add" else z * value
        moved: Tensor = x.float() + (new - z) @ coder.w_dec[self.index]
        return moved.to(x.dtype)


@contextlib.contextmanager
def features_changed(
    lm: LanguageModel,
    site: str,
    coders: Mapping[int, Autoencoder],
    changes: Mapping[int, FeatureChange],
) -> Iterator[None]:
    """Change features at every token of every forward pass of the block.

    Args:
        lm: The model.
        site: Where the autoencoders read.
        coders: Layer to autoencoder.
        changes: Layer to change; layers without one are left alone.

    Raises:
        InputError: If a layer has no autoencoder, or one does not fit the site.
    """
    missing = [layer for layer in changes if layer not in coders]
    if missing:
        raise InputError(f"no features for layer {missing[0]}: train or load some.")
    check(lm, site, coders)
    here = {layer: coders[layer].to(lm.device) for layer in changes}

    def write(layer: int, activation: Tensor) -> Tensor:
        return changes[layer].apply(here[layer], activation)

    with hook_site(lm, site, write, sorted(changes)):
        yield


@contextlib.contextmanager
def reconstructed(
    lm: LanguageModel, site: str, coders: Mapping[int, Autoencoder], zero: bool = False
) -> Iterator[None]:
    """Run on reconstructions instead of activations (or on 0), to see what is lost."""
    check(lm, site, coders)
    here = {layer: item.to(lm.device) for layer, item in coders.items()}

    def write(layer: int, activation: Tensor) -> Tensor:
        if zero:
            return torch.zeros_like(activation)
        coder = here[layer]
        return coder.decode(coder.encode(activation)).to(activation.dtype)

    with hook_site(lm, site, write, sorted(coders)):
        yield


def by_layer(
    units: Units, layers: list[int], value: float | Tensor, mode: Mode = "set"
) -> dict[int, FeatureChange]:
    """Units of a feature set (whose layer counts autoencoders) as changes by model layer.

    Args:
        units: Features; their layer is a place in ``layers``.
        layers: Model layers that have autoencoders.
        value: One number, or (layers, features).
        mode: What is done with it.
    """
    found = {}
    for place, index in enumerate(units.by_layer(len(layers))):
        if len(index):
            chosen = value[place, index].float() if isinstance(value, Tensor) else value
            found[layers[place]] = FeatureChange(index, torch.as_tensor(chosen), mode)
    return found


def check(lm: LanguageModel, site: str, coders: Mapping[int, Autoencoder]) -> None:
    """Refuse autoencoders of another width than the site, or for layers that are not there.

    Raises:
        InputError: If one does not fit.
    """
    width = lm.sites[site].width
    for layer, item in coders.items():
        if item.width != width:
            raise InputError(
                f"the features of layer {layer} read {item.width} activations, {site!r} of "
                f"{lm.name} has {width}: take those of this model and site."
            )
