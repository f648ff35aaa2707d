"""The row-sparse layers against masked dense LoRA, by definition and in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from langneurons.finetuning.rows import ADAPTER, Target, densify, lora_layers, sparsify


class Block(nn.Module):
    """One linear module, so that PEFT has something to adapt."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.config = {"model_type": "custom"}
        self.proj = base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x)


def adapted(base: nn.Module, target: Target, rank: int):
    n = len(target.index)
    config = LoraConfig(
        r=n if target.direct else rank,
        lora_alpha=n if target.direct else 2.5 * rank,
        target_modules=["proj"],
        fan_in_fan_out=isinstance(base, Conv1D),
    )
    model = get_peft_model(Block(base), config).double()
    sparsify(model, {"proj": target}, seed=3)
    (layer,) = [layer for _, layer in lora_layers(model)]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    return model.double(), layer


def masked_dense(layer, target: Target, weight: torch.Tensor, bias, x: torch.Tensor):
    """Output of W + M * (B A) with dense B and A, and the leaves to differentiate by."""
    out_features, in_features = weight.shape
    scale = layer.scaling[ADAPTER]
    if target.direct:
        mask = torch.zeros(out_features, in_features, dtype=torch.float64)
        dense = torch.zeros_like(mask)
        if target.side == "rows":
            mask[target.index] = 1
            dense[target.index] = layer.lora_A[ADAPTER].weight.detach()
        else:
            mask[:, target.index] = 1
            dense[:, target.index] = layer.lora_B[ADAPTER].weight.detach()
        dense.requires_grad_()
        return x @ (weight + mask * dense).T + bias, (dense,)
    rank = layer.r[ADAPTER]
    a = torch.randn(rank, in_features, dtype=torch.float64)
    b = torch.randn(out_features, rank, dtype=torch.float64)
    mask = torch.zeros(out_features, in_features, dtype=torch.float64)
    if target.side == "rows":
        a = layer.lora_A[ADAPTER].weight.detach().clone()
        b[target.index] = layer.lora_B[ADAPTER].weight.detach()
        mask[target.index] = 1
    else:
        b = layer.lora_B[ADAPTER].weight.detach().clone()
        a[:, target.index] = layer.lora_A[ADAPTER].weight.detach()
        mask[:, target.index] = 1
    a.requires_grad_()
    b.requires_grad_()
    return x @ (weight + mask * (scale * b @ a)).T + bias, (a, b)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_output_and_gradients_equal_masked_dense_lora(data):
    inputs, outputs = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    side = data.draw(st.sampled_from(["rows", "columns"]))
    size = outputs if side == "rows" else inputs
    chosen = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    target = Target(side, torch.tensor(sorted(chosen)), data.draw(st.booleans()))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    base = Conv1D(outputs, inputs) if data.draw(st.booleans()) else nn.Linear(inputs, outputs)
    with torch.no_grad():
        base.weight.normal_()
    weight = (base.weight.T if isinstance(base, Conv1D) else base.weight).detach().double()
    bias = base.bias.detach().double()
    model, layer = adapted(base, target, data.draw(st.integers(1, 4)))
    x = torch.randn(2, 3, inputs, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    seen = torch.randn(2, 3, outputs, dtype=torch.float64)

    out = model(x)
    (out.sin() * seen).sum().backward()
    expected, leaves = masked_dense(layer, target, weight, bias, y)
    (expected.sin() * seen).sum().backward()

    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-9)
    index = target.index
    if target.direct:
        dense = leaves[0].grad
        if side == "rows":
            torch.testing.assert_close(layer.lora_A[ADAPTER].weight.grad, dense[index])
        else:
            torch.testing.assert_close(layer.lora_B[ADAPTER].weight.grad, dense[:, index])
    else:
        a, b = (leaf.grad for leaf in leaves)
        mine_a = layer.lora_A[ADAPTER].weight.grad
        mine_b = layer.lora_B[ADAPTER].weight.grad
        torch.testing.assert_close(mine_a, a if side == "rows" else a[:, index])
        torch.testing.assert_close(mine_b, b[index] if side == "rows" else b)


@pytest.mark.parametrize("side", ["rows", "columns"])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("conv", [False, True])
def test_dense_form_is_plain_lora_with_zeros(side, direct, conv):
    torch.manual_seed(0)
    base = Conv1D(7, 5) if conv else nn.Linear(5, 7)
    index = torch.tensor([1, 4])
    model, layer = adapted(base, Target(side, index, direct), 2)
    before = copy.deepcopy(base.state_dict())
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    sparse = model(x).detach()
    densify(model)
    assert not layer.lora_variant
    torch.testing.assert_close(model(x), sparse)
    delta = layer.get_delta_weight(ADAPTER)
    delta = delta.T if conv else delta
    others = [i for i in range(7 if side == "rows" else 5) if i not in index]
    rest = delta[others] if side == "rows" else delta[:, others]
    assert torch.count_nonzero(rest) == 0
    assert torch.count_nonzero(delta) > 0
    model.merge_adapter()
    torch.testing.assert_close(model(x), sparse)
    model.unmerge_adapter()
    for name, value in base.state_dict().items():
        torch.testing.assert_close(value, before[name].double())


def test_start_is_the_frozen_model():
    """B is zero at the start, so training begins at the model itself."""
    torch.manual_seed(0)
    base = nn.Linear(5, 7)
    x = torch.randn(2, 3, 5)
    expected = base(x)
    model = get_peft_model(Block(base), LoraConfig(r=2, target_modules=["proj"]))
    sparsify(model, {"proj": Target("rows", torch.tensor([0, 6]))})
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
