"""Erasing or moving a linear part of a site's activations while the model runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from langneurons.errors import InputError
from langneurons.models import hook_site

if TYPE_CHECKING:
    from langneurons.identification.subspaces import Subspace
    from langneurons.models import LanguageModel


@contextlib.contextmanager
def erased(lm: LanguageModel, site: str, subspaces: Mapping[int, Subspace]) -> Iterator[None]:
    """Apply a projection at every token of every forward pass of the block.

    Args:
        lm: The model.
        site: Where the subspaces live.
        subspaces: Layer to subspace.

    Raises:
        InputError: If a subspace is of another width than the site.
    """
    width = lm.sites[site].width
    for layer, item in subspaces.items():
        if item.left.shape[0] != width:
            raise InputError(
                f"the subspace for layer {layer} is of width {item.left.shape[0]}, {site!r} of "
                f"{lm.name} has {width}: fit it on statistics of this model and site."
            )

    def change(layer: int, activation: Tensor) -> Tensor:
        # In float32: a difference of nearly equal numbers is taken.
        return subspaces[layer].erase(activation.float()).to(activation.dtype)

    with hook_site(lm, site, change, sorted(subspaces)):
        yield
