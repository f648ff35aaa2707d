"""Rows and columns of linear modules as parameters of their own; the rest of the model is frozen.

What arXiv 2510.13580 trains: gate rows, up rows and down columns of chosen units, no LoRA. AdamW's
weight decay draws the weights themselves towards zero, as it does where a whole matrix is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langneurons.artifacts import read_tensors, write_tensors
from langneurons.errors import ArtifactError, InputError
from langneurons.finetuning.rows import Target, add_to
from langneurons.models.projection import matrix

FILE = "weights.safetensors"
"""File of an adapter's folder that holds the trained rows and columns, and nothing else."""


class Entries(nn.Module):
    """A linear module of which some rows or columns are parameters of their own.

    Args:
        base: The module; its weights stay as they are, and are not copied.
        target: Rows or columns.

    Attributes:
        values: The weights that learn, (n, inputs) for rows, (outputs, n) for columns; float32, or
            float64 where ``base`` is.
    """

    start: Tensor

    def __init__(self, base: nn.Module, target: Target) -> None:
        super().__init__()
        self.base_layer = base
        self.side, self._dim = target.side, 0 if target.side == "rows" else 1
        weight = matrix(base)
        self.register_buffer("index", target.index.to(weight.device), persistent=False)
        chosen = weight.detach().index_select(self._dim, cast("Tensor", self.index))
        start = chosen.to(torch.promote_types(weight.dtype, torch.float32))
        self.register_buffer("start", start, persistent=False)
        self.values = nn.Parameter(start.clone())
        self._whole = len(target.index) == weight.shape[self._dim]

    def forward(self, x: Tensor) -> Tensor:
        """What the module with the trained weights in it gives."""
        index = cast("Tensor", self.index)
        given = x.to(self.values.dtype)
        if self._whole:
            bias = getattr(self.base_layer, "bias", None)
            bias = None if bias is None else bias.to(self.values.dtype)
            return F.linear(given, self.values, bias).to(x.dtype)
        result: Tensor = self.base_layer(x)
        change = self.values - self.start
        if self.side == "rows":
            return add_to(self.base_layer, result, index, F.linear(given, change))
        return result + F.linear(given.index_select(-1, index), change).to(result.dtype)


def separate(model: nn.Module, targets: Mapping[str, Target]) -> None:
    """Put :class:`Entries` in the place of modules.

    Args:
        model: A module tree that may be changed; its weights stay shared.
        targets: Name of a linear module -> what of it learns.
    """
    for name, target in targets.items():
        model.set_submodule(name, Entries(model.get_submodule(name), target))


def entries(model: nn.Module) -> dict[str, Entries]:
    """Name -> module, of all that :func:`separate` has put in."""
    return {name: item for name, item in model.named_modules() if isinstance(item, Entries)}


def write_entries(model: nn.Module, path: Path) -> None:
    """Write the trained rows and columns, and their numbers: ``NAME.rows``, ``NAME.rows.index``."""
    tensors: dict[str, Tensor] = {}
    for name, item in entries(model).items():
        tensors[f"{name}.{item.side}"] = item.values.detach().cpu().contiguous()
        tensors[f"{name}.{item.side}.index"] = cast("Tensor", item.index).cpu()
    write_tensors(path, tensors)


def put(model: nn.Module, path: Path) -> None:
    """Write trained rows and columns into copies of the weights they belong to.

    Args:
        model: A module tree that may be changed: its own modules get new weights, and tensors that
            it shares with another tree stay as they are.
        path: What :func:`write_entries` wrote.

    Raises:
        ArtifactError: If the file is damaged.
        InputError: If the model has no such weights.
    """
    tensors, _ = read_tensors(path)
    for key, index in tensors.items():
        if not key.endswith(".index"):
            continue
        place = key.removesuffix(".index")
        name, _, side = place.rpartition(".")
        if place not in tensors or side not in ("rows", "columns"):
            raise ArtifactError(f"{str(path)!r} is damaged ({key!r}): train again.")
        module = _module(model, name, path)
        module.weight = nn.Parameter(module.weight.detach().clone(), requires_grad=False)
        weight = matrix(module)
        dim = 0 if side == "rows" else 1
        values = tensors[place]
        if values.shape[1 - dim] != weight.shape[1 - dim] or int(index.max()) >= weight.shape[dim]:
            raise InputError(
                f"{str(path)!r} does not fit the model ({name!r} is of another shape): load the "
                "model it was trained on."
            )
        weight.index_copy_(dim, index.to(weight.device), values.to(weight))


def _module(model: nn.Module, name: str, path: Path) -> Any:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise InputError(
            f"{str(path)!r} does not fit the model (it has no {name!r}): load the model it was "
            "trained on."
        ) from error
