"""Linear maps as matrices (outputs, inputs), however a module stores them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from langneurons.errors import InputError


@dataclass(frozen=True)
class Projection:
    """Rows of a linear map: the part of the weights that makes the units of a layer.

    Attributes:
        module: The linear module (``nn.Linear``, ``Conv1D`` or a wrapper around one).
        path: Its name relative to the decoder layer.
        start: First output coordinate.
        stop: One behind the last.
    """

    module: nn.Module
    path: str
    start: int
    stop: int

    def matrix(self) -> Tensor:
        """These rows, (stop - start, inputs), a view of the weights; see :func:`matrix`."""
        return matrix(self.module)[self.start : self.stop]

    def bias(self) -> Tensor | None:
        """Their biases (stop - start,), a view, or None."""
        bias = getattr(unwrapped(self.module), "bias", None)
        return bias[self.start : self.stop] if isinstance(bias, Tensor) else None


def unwrapped(module: nn.Module) -> nn.Module:
    """The linear module inside PEFT's wrapper."""
    inner = getattr(module, "base_layer", module)
    return inner if isinstance(inner, nn.Module) else module


def is_transposed(module: nn.Module) -> bool:
    """Whether the weights are stored (inputs, outputs), as in GPT-2's ``Conv1D``."""
    return isinstance(unwrapped(module), Conv1D)


def matrix(module: nn.Module) -> Tensor:
    """The weights as (outputs, inputs), a view: what is written to it is written to them.

    Raises:
        InputError: If they are quantised.
    """
    weight = getattr(unwrapped(module), "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.ndim != 2:
        raise InputError(
            f"the weights of {type(module).__name__} are quantised and cannot be read or scaled: "
            "load the model unquantised (to bake: bake, then quantise)."
        )
    return weight.t() if is_transposed(module) else weight
