"""LoRA whose B has rows only for chosen units (and whose A has columns only for them).

``dW = M * (B A)`` with a mask M of whole rows equals ``B A`` with the other rows of B zero, so only
the chosen rows are held, computed and trained. :func:`densify` writes the zeros, after which the
module is PEFT's own LoRA.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from langneurons.artifacts import digest

ADAPTER = "default"


@dataclass(frozen=True)
class Target:
    """Which part of one linear module is trained.

    Attributes:
        side: ``"rows"`` (outputs) or ``"columns"`` (inputs).
        index: Sorted row or column numbers, int64 (n,).
        direct: Train the weights themselves rather than a product of two factors.
    """

    side: Literal["rows", "columns"]
    index: Tensor
    direct: bool = False


class _Sparse(LoraVariant):
    """Base of the variants: PEFT calls ``forward``; merging needs :func:`densify` first."""

    def __init__(self, index: Tensor) -> None:
        self.index = index

    def on(self, device: torch.device) -> Tensor:
        if self.index.device != device:
            self.index = self.index.to(device)
        return self.index


class RowSparse(_Sparse):
    """B has shape (n, r): outputs other than ``index`` stay those of the frozen module."""

    def forward(
        self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any
    ) -> Tensor:
        """Add ``scaling * B A x`` to the chosen outputs."""
        low = module.lora_A[active_adapter](module.lora_dropout[active_adapter](x))
        delta = module.lora_B[active_adapter](low) * module.scaling[active_adapter]
        return add_to(module.get_base_layer(), result, self.on(result.device), delta)


class ColumnSparse(_Sparse):
    """A has shape (r, n): inputs other than ``index`` are not read."""

    def forward(
        self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any
    ) -> Tensor:
        """Add ``scaling * B A x[index]`` to every output."""
        chosen = x.index_select(-1, self.on(x.device))
        low = module.lora_A[active_adapter](module.lora_dropout[active_adapter](chosen))
        delta: Tensor = module.lora_B[active_adapter](low) * module.scaling[active_adapter]
        return result + delta


class DirectRows(_Sparse):
    """lora_A holds the change of the chosen rows, (n, inputs); there is no B in training."""

    def forward(
        self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any
    ) -> Tensor:
        """Add ``D x`` to the chosen outputs."""
        delta = module.lora_A[active_adapter](x)
        return add_to(module.get_base_layer(), result, self.on(result.device), delta)


class DirectColumns(_Sparse):
    """lora_B holds the change of the chosen columns, (outputs, n); there is no A in training."""

    def forward(
        self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any
    ) -> Tensor:
        """Add ``D x[index]`` to every output."""
        delta: Tensor = module.lora_B[active_adapter](x.index_select(-1, self.on(x.device)))
        return result + delta


class _Unused(nn.Module):
    """Stands for the factor that direct training has no need of; PEFT asks for its dtype."""

    weight: Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(0, dtype=dtype), persistent=False)


class _AddColumns(torch.autograd.Function):
    """``result[..., index] += delta`` in place; ``index`` holds no number twice."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, delta: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.mark_dirty(result)
        if result.dtype == torch.float32:
            return result.index_add_(-1, index, delta)
        # index_add_ on CPUs is several times slower in bfloat16 than this.
        return result.index_copy_(-1, index, result.index_select(-1, index).add_(delta))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (index,) = ctx.saved_tensors
        return grads[0], grads[0].index_select(-1, index), None


def add_to(base: nn.Module, result: Tensor, index: Tensor, delta: Tensor) -> Tensor:
    """Add to some outputs of a linear module.

    Args:
        base: The module.
        result: What it gave, (..., outputs); may be written to.
        index: Numbers of outputs, int64 (n,), none twice.
        delta: What is added to them, (..., n).
    """
    delta = delta.to(result.dtype)
    # An exact nn.Linear or Conv1D returns a fresh tensor that nothing else needs for its backward
    # pass, so it may be written in place; quantised modules give no such promise.
    if type(base) in (nn.Linear, Conv1D):
        added: Tensor = _AddColumns.apply(result, delta, index)
        return added
    return result.index_add(-1, index, delta)


def sparsify(model: PeftModel, targets: Mapping[str, Target], seed: int = 0) -> None:
    """Shrink the LoRA factors of the named modules to the chosen rows or columns, and draw every A.

    Args:
        model: PEFT model with plain LoRA on (at least) these modules.
        targets: Name of the module below the PEFT model's base model -> what is trained there.
        seed: Of the first values of A in all LoRA layers.
    """
    layers = dict(lora_layers(model))
    for name, target in targets.items():
        layer = layers[name]
        n, rank = len(target.index), layer.r[ADAPTER]
        factor_a, factor_b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        inputs, outputs = factor_a.in_features, factor_b.out_features
        device, dtype = factor_a.weight.device, factor_a.weight.dtype
        if target.direct:
            unused = _Unused(dtype)
            if target.side == "rows":
                layer.lora_A[ADAPTER] = _linear(torch.zeros(n, inputs, device=device, dtype=dtype))
                layer.lora_B[ADAPTER] = unused
                variant: _Sparse = DirectRows(target.index)
            else:
                layer.lora_A[ADAPTER] = unused
                layer.lora_B[ADAPTER] = _linear(torch.zeros(outputs, n, device=device, dtype=dtype))
                variant = DirectColumns(target.index)
        elif target.side == "rows":
            layer.lora_B[ADAPTER] = _linear(torch.zeros(n, rank, device=device, dtype=dtype))
            variant = RowSparse(target.index)
        else:
            layer.lora_A[ADAPTER] = _linear(torch.zeros(rank, n, device=device, dtype=dtype))
            variant = ColumnSparse(target.index)
        layer.lora_variant[ADAPTER] = variant
    for name, layer in layers.items():
        if name not in targets or not targets[name].direct:
            _draw(layer.lora_A[ADAPTER], int(digest(name, seed)[:15], 16))


@torch.no_grad()
def _draw(factor: nn.Linear, seed: int) -> None:
    """Draw an A by the seed and the module's name alone.

    So a module starts the same whatever other modules are adapted, and runs that differ in their
    units only can be compared in pairs. The distribution is PEFT's: uniform within 1/sqrt(inputs).
    """
    generator = torch.Generator().manual_seed(seed)
    bound = 1.0 / math.sqrt(factor.in_features)
    factor.weight.copy_(
        torch.empty(factor.weight.shape).uniform_(-bound, bound, generator=generator)
    )


def densify(model: PeftModel) -> None:
    """Turn every sparse layer into plain LoRA that does the same, with zeros elsewhere.

    Direct rows become a LoRA of rank n whose B picks the rows (columns: whose A picks them); their
    scaling must be 1.
    """
    for _, layer in lora_layers(model):
        variant = layer.lora_variant.pop(ADAPTER, None)
        if variant is None:
            continue
        index = variant.index.cpu()
        factor_a, factor_b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        if isinstance(variant, RowSparse):
            layer.lora_B[ADAPTER] = _linear(_spread(factor_b.weight, index, layer.out_features, 0))
        elif isinstance(variant, ColumnSparse):
            layer.lora_A[ADAPTER] = _linear(_spread(factor_a.weight, index, layer.in_features, 1))
        elif isinstance(variant, DirectRows):
            weight = factor_a.weight
            pick = torch.eye(len(index), device=weight.device, dtype=weight.dtype)
            layer.lora_B[ADAPTER] = _linear(_spread(pick, index, layer.out_features, 0))
        else:
            weight = factor_b.weight
            pick = torch.eye(len(index), device=weight.device, dtype=weight.dtype)
            layer.lora_A[ADAPTER] = _linear(_spread(pick, index, layer.in_features, 1))


def lora_layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """(name below the base model, layer) of every LoRA layer."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def _spread(values: Tensor, index: Tensor, size: int, dim: int) -> Tensor:
    shape = list(values.shape)
    shape[dim] = size
    out = torch.zeros(shape, dtype=values.dtype, device=values.device)
    return out.index_copy_(dim, index.to(values.device), values.detach())


def _linear(weight: Tensor) -> nn.Linear:
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    module.weight = nn.Parameter(weight)
    return module
