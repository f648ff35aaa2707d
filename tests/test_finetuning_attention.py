"""Attention in float32 under bfloat16 autocast."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import tiny
from finetuning_world import Classes
from langneurons.finetuning import finetune
from langneurons.finetuning.attention import Float32Attention
from langneurons.identification import Units


def test_attention_is_that_of_float32():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 7, 8).bfloat16().requires_grad_() for _ in range(3))
    wide = [t.detach().float().requires_grad_() for t in (q, k, v)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        with Float32Attention():
            ours = F.scaled_dot_product_attention(q, key=k, value=v, is_causal=True)
            product = q @ k.mT
    expected = F.scaled_dot_product_attention(*wide, is_causal=True)
    assert ours.dtype == plain.dtype == product.dtype == torch.bfloat16
    assert torch.equal(ours, expected.bfloat16())
    ours.float().sum().backward()
    expected.sum().backward()
    for mine, reference in zip((q, k, v), wide, strict=True):
        assert torch.equal(mine.grad, reference.grad.bfloat16())


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
def test_bf16_with_gradient_checkpointing(family, tmp_path):
    """The second forward pass of a checkpointed layer computes as the first did."""
    lm = tiny.lm(family)
    units = Units([0, 0, 0, 1, 1, 1], [1, 2, 40, 0, 9, 47])
    options = {"steps": 3, "batch_size": 8, "rank": 3, "learning_rate": 1e-2, "dtype": "bf16"}
    a = finetune(lm, Classes(), "en", units, output=tmp_path / "a", **options)
    b = finetune(
        lm, Classes(), "en", units, output=tmp_path / "b", gradient_checkpointing=True, **options
    )
    if family != "gpt2":  # its dropout is drawn in another order
        assert a.losses == pytest.approx(b.losses, abs=0.03)
    assert len(b.losses) == 3
