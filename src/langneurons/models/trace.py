"""What each decoder layer does with its sub-modules, seen from one tiny forward pass.

Module names differ between families and say little; what runs after what, on which tensor, is the
same everywhere. The model without its head runs once on six tokens; every leaf module of a layer is
noted in the order of its call, with what it read and gave.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from langneurons.errors import InputError
from langneurons.models.handles import holding

BATCH, SEQUENCE = 2, 3


@dataclass(frozen=True)
class Call:
    """One call of one leaf module.

    Attributes:
        path: Name relative to the decoder layer.
        module: The module.
        source: First tensor argument.
        result: First tensor of the output.
        read: Copy of the source at the time.
        gave: Copy of the result at the time.
    """

    path: str
    module: nn.Module
    source: Tensor
    result: Tensor
    read: Tensor
    gave: Tensor

    @property
    def width_in(self) -> int:
        """Last dimension of the input."""
        return int(self.source.shape[-1])

    @property
    def width_out(self) -> int:
        """Last dimension of the output."""
        return int(self.result.shape[-1])

    @property
    def flat(self) -> bool:
        """Whether batch and sequence are one dimension here, as in OPT."""
        return self.source.ndim == 2

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
        """Whether the module computes a new tensor of the same shape with at most a few numbers.

        Its parameters, if any, are single numbers (PReLU, xIELU). Dropout and identity hand on the
        tensor they were given, so they drop out here.
        """
        return (
            all(parameter.numel() == 1 for parameter in self.module.parameters())
            and not isinstance(self.module, _DropoutNd)
            and self.source.shape == self.result.shape
            and not same_storage(self.source, self.result)
        )


def same_storage(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are views of the same memory."""
    return bool(a.untyped_storage()._cdata == b.untyped_storage()._cdata)


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers up to rounding in their type, and not only 0."""
    if a.shape != b.shape or not bool(a.any()):
        return False
    share = 2e-2 if a.dtype in (torch.float16, torch.bfloat16) else 1e-4
    a, b = a.double(), b.double()
    scale = float(a.abs().max().clamp_min(1e-30))
    return bool(((a - b).abs() <= share * (a.abs() + 1e-2 * scale)).all())


def first_tensor(value: Any) -> Tensor | None:
    """The tensor that a module takes or gives first."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, list | tuple):
        return next((item for item in value if isinstance(item, Tensor)), None)
    return None


def leaves(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The modules without children below ``module``, by path; a wrapped one counts as a whole."""
    # A module around a `base_layer` (PEFT) is one projection from outside: hooking inside it would
    # miss the adapter's share.
    if prefix and (hasattr(module, "base_layer") or next(module.children(), None) is None):
        return [(prefix, module)]
    return [
        leaf
        for name, child in module.named_children()
        for leaf in leaves(child, f"{prefix}.{name}" if prefix else name)
    ]


def tiny_ids(backbone: nn.Module, rows: int = BATCH) -> Tensor:
    """Ids to try a model on, int64 (rows, 3), on its device."""
    first = next(backbone.parameters())
    device = "cpu" if first.is_meta else first.device  # kept on disk by Accelerate
    ids = torch.arange(BATCH * SEQUENCE, device=device).reshape(BATCH, SEQUENCE)
    return ids if rows == BATCH else ids[1:].expand(rows, -1).contiguous()


def trace_layers(
    backbone: nn.Module,
    layers: Sequence[nn.Module],
    read: Callable[[int, Sequence[Call], Tensor | None], None],
) -> None:
    """Run ``backbone`` once and hand over the calls made in each layer, when it ends.

    Args:
        backbone: Model without its head; called with ``input_ids`` of shape (2, 3).
        layers: Its decoder layers.
        read: Called as ``read(layer, calls, output)``, in the order of the layers' ends, with the
            first tensor that the layer gives; the tensors are not needed afterwards. Layers that
            do not run are not among them.

    Raises:
        InputError: If a layer runs more than once.
    """
    paths = [{id(leaf): path for path, leaf in leaves(layer)} for layer in layers]
    calls: list[Call] = []
    inside: list[int] = []
    done: set[int] = set()

    def begin(layer: int) -> Any:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            if layer in done:
                raise InputError(
                    f"layer {layer} of {type(backbone).__name__} runs more than once a pass, so "
                    "its units have more than one value a token: use another model."
                )
            hidden = first_tensor(args) if args else first_tensor(list(kwargs.values()))
            if hidden is not None and hidden.ndim == 3 and hidden.shape[:2] != (BATCH, SEQUENCE):
                raise InputError(
                    f"layer {layer} of {type(backbone).__name__} runs on {tuple(hidden.shape[:2])} "
                    f"tokens where it was given {(BATCH, SEQUENCE)}: it adds some of its own or "
                    "orders them otherwise, so which are the text's is not known. Use another one."
                )
            calls.clear()
            inside[:] = [layer]

        return hook

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        path = paths[inside[0]].get(id(module)) if inside else None
        source = first_tensor(args) if args else first_tensor(list(kwargs.values()))
        result = first_tensor(output)
        if path is not None and source is not None and result is not None:
            # The tensors are kept: freed memory could be given to another one.
            calls.append(Call(path, module, source, result, source.clone(), result.clone()))

    def end(layer: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            inside.clear()
            done.add(layer)
            read(layer, tuple(calls), first_tensor(output))
            calls.clear()

        return hook

    distinct = {id(leaf): leaf for layer in layers for _, leaf in leaves(layer)}
    with contextlib.ExitStack() as stack, torch.no_grad():
        for leaf in distinct.values():
            stack.enter_context(holding(leaf.register_forward_hook(note, with_kwargs=True)))
        for number, layer in enumerate(layers):
            start = layer.register_forward_pre_hook(begin(number), with_kwargs=True)
            stack.enter_context(holding(start))
            stack.enter_context(holding(layer.register_forward_hook(end(number))))
        backbone(input_ids=tiny_ids(backbone), use_cache=False)


def trace_names(backbone: nn.Module) -> frozenset[str]:
    """Names of the modules of ``backbone`` that run on ids alone."""
    ran: set[str] = set()
    with contextlib.ExitStack() as stack, torch.no_grad():
        for name, module in backbone.named_modules():

            def note(*_: Any, name: str = name) -> None:
                ran.add(name)

            stack.enter_context(holding(module.register_forward_pre_hook(note)))
        backbone(input_ids=tiny_ids(backbone), use_cache=False)
    return frozenset(ran)
