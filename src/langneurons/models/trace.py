"""What one decoder layer does with its sub-modules, seen from one tiny forward pass.

Module names differ between families and say little; what runs after what, on which tensor, is the
same everywhere. One layer is run on six tokens, each leaf module is noted in the order of its call
together with the storage it read and wrote, and the pass is cut off behind that layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

BATCH, SEQUENCE = 2, 3


@dataclass(frozen=True)
class Call:
    """One call of one leaf module.

    Attributes:
        path: Name relative to the decoder layer.
        module: The module.
        source: First tensor argument.
        result: First tensor of the output.
    """

    path: str
    module: nn.Module
    source: Tensor
    result: Tensor

    @property
    def width_in(self) -> int:
        """Last dimension of the input."""
        return int(self.source.shape[-1])

    @property
    def width_out(self) -> int:
        """Last dimension of the output."""
        return int(self.result.shape[-1])

    @property
    def parent(self) -> str:
        """Path of the module that holds this one ("" is the decoder layer)."""
        return self.path.rpartition(".")[0]

    @property
    def is_projection(self) -> bool:
        """Whether the module is a linear map with a weight matrix (quantised or wrapped too)."""
        if isinstance(self.module, nn.Embedding):
            return False
        if hasattr(self.module, "base_layer") or hasattr(self.module, "in_features"):
            return True
        weight = getattr(self.module, "weight", None)
        return isinstance(weight, Tensor) and weight.ndim == 2

    @property
    def is_activation(self) -> bool:
        """Whether the module computes a new tensor of the same shape and has no weights.

        Dropout and identity hand on the tensor they were given, so they drop out here.
        """
        return (
            next(self.module.parameters(), None) is None
            and not isinstance(self.module, _DropoutNd)
            and self.source.shape == self.result.shape
            and not same_storage(self.source, self.result)
        )


def same_storage(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are views of the same memory."""
    return bool(a.untyped_storage()._cdata == b.untyped_storage()._cdata)


class _LayerDoneError(Exception):
    """Raised behind the traced layer; the rest of the model need not run."""


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, list | tuple):
        return next((item for item in value if isinstance(item, Tensor)), None)
    return None


def _leaves(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    # A module around a `base_layer` (PEFT) is one projection from outside: hooking inside it would
    # miss the adapter's share.
    if prefix and (hasattr(module, "base_layer") or next(module.children(), None) is None):
        return [(prefix, module)]
    return [
        leaf
        for name, child in module.named_children()
        for leaf in _leaves(child, f"{prefix}.{name}" if prefix else name)
    ]


def trace_layer(backbone: nn.Module, layer: nn.Module) -> Sequence[Call]:
    """Run ``backbone`` up to the end of ``layer`` and return the calls made in that layer.

    Args:
        backbone: Model without its head; called with ``input_ids`` of shape (2, 3).
        layer: One of its decoder layers.

    Returns:
        The calls in the order they happened.
    """
    calls: list[Call] = []

    def note(path: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            source = _first_tensor(args) if args else _first_tensor(list(kwargs.values()))
            result = _first_tensor(output)
            if source is not None and result is not None:
                # The tensors are kept: freed memory could be given to another one.
                calls.append(Call(path, module, source, result))

        return hook

    def stop(*_: Any) -> None:
        raise _LayerDoneError

    first = next(backbone.parameters())
    device = "cpu" if first.is_meta else first.device  # kept on disk by Accelerate
    ids = torch.arange(BATCH * SEQUENCE, device=device).reshape(BATCH, SEQUENCE)
    with contextlib.ExitStack() as stack, torch.no_grad():
        for path, leaf in _leaves(layer):
            handle = leaf.register_forward_hook(note(path), with_kwargs=True)
            stack.callback(handle.remove)
        stack.callback(layer.register_forward_hook(stop).remove)
        with contextlib.suppress(_LayerDoneError):
            backbone(input_ids=ids, use_cache=False)
    return calls
