"""Forward passes written out by hand in float64: a gated, a fused and a plain decoder.

``edit(site, layer, tensor)`` is called at every place where units live and returns what goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Edit = Callable[[str, int, Tensor], Tensor]


def untouched(_site: str, _layer: int, tensor: Tensor) -> Tensor:
    return tensor


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Causal softmax attention, (batch, sequence, heads x size) each; keys may be shared."""
    batch, length, _ = q.shape
    q = q.reshape(batch, length, heads, -1).transpose(1, 2)
    k = k.reshape(batch, length, -1, q.shape[-1]).transpose(1, 2)
    v = v.reshape(batch, length, -1, q.shape[-1]).transpose(1, 2)
    k = k.repeat_interleave(heads // k.shape[1], dim=1)
    v = v.repeat_interleave(heads // v.shape[1], dim=1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(batch, length, -1)


def edit_heads(edit: Edit, layer: int, values: Tensor, heads: int) -> Tensor:
    """Sites ``attn.out`` and ``attn.head`` on the input of the output projection."""
    values = edit("attn.out", layer, values)
    slices = values.reshape(*values.shape[:2], heads, -1)
    norms = slices.square().sum(-1).sqrt()
    return (slices * (edit("attn.head", layer, norms) / norms).unsqueeze(-1)).flatten(-2)


def rotate(x: Tensor, heads: int, base: float) -> Tensor:
    batch, length, width = x.shape
    x = x.reshape(batch, length, heads, -1)
    half = x.shape[-1] // 2
    angles = torch.arange(length).double()[:, None] / base ** (torch.arange(half).double() / half)
    cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
    first, second = x[..., :half], x[..., half:]
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.reshape(batch, length, width)


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def gated(net: Any, ids: Tensor, edit: Edit = untouched) -> Tensor:
    """Logits of a Llama (separate projections) or a Phi-3 (fused ones)."""
    config = net.config
    heads, keys = config.num_attention_heads, config.num_key_value_heads
    size = config.hidden_size // heads
    base = config.rope_parameters["rope_theta"]
    hidden = net.model.embed_tokens.weight[ids]
    for number, layer in enumerate(net.model.layers):
        attn, mlp = layer.self_attn, layer.mlp
        if hasattr(attn, "qkv_proj"):
            wq, wk, wv = attn.qkv_proj.weight.split([heads * size, keys * size, keys * size])
            gate, up = mlp.gate_up_proj.weight.chunk(2)
        else:
            wq, wk, wv = attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight
            gate, up = mlp.gate_proj.weight, mlp.up_proj.weight
        x = rms(hidden, layer.input_layernorm.weight, config.rms_norm_eps)
        q, k, v = (
            edit(f"attn.{role}", number, x @ weight.T)
            for role, weight in zip("qkv", (wq, wk, wv), strict=True)
        )
        mixed = attention(rotate(q, heads, base), rotate(k, keys, base), v, heads)
        mixed = edit_heads(edit, number, mixed, heads)
        hidden = hidden + mixed @ attn.o_proj.weight.T
        x = rms(hidden, layer.post_attention_layernorm.weight, config.rms_norm_eps)
        pre = edit("mlp.pre", number, x @ gate.T)
        act = edit("mlp.act", number, pre / (1 + (-pre).exp()))
        out = edit("mlp.out", number, act * (x @ up.T))
        hidden = edit("resid", number, hidden + out @ mlp.down_proj.weight.T)
    hidden = rms(hidden, net.model.norm.weight, config.rms_norm_eps)
    return hidden @ net.lm_head.weight.T


def plain(net: Any, ids: Tensor, edit: Edit = untouched) -> Tensor:
    """Logits of a GPT-2."""
    config = net.config
    body = net.transformer
    heads = config.n_head

    def norm(x: Tensor, module: Any) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], module.weight, module.bias, module.eps)

    hidden = body.wte.weight[ids] + body.wpe.weight[: ids.shape[1]]
    for number, layer in enumerate(body.h):
        x = norm(hidden, layer.ln_1) @ layer.attn.c_attn.weight + layer.attn.c_attn.bias
        q, k, v = (
            edit(f"attn.{role}", number, part)
            for role, part in zip("qkv", x.chunk(3, -1), strict=True)
        )
        mixed = edit_heads(edit, number, attention(q, k, v, heads), heads)
        hidden = hidden + mixed @ layer.attn.c_proj.weight + layer.attn.c_proj.bias
        x = norm(hidden, layer.ln_2)
        pre = edit("mlp.pre", number, x @ layer.mlp.c_fc.weight + layer.mlp.c_fc.bias)
        cubic = math.sqrt(2 / math.pi) * (pre + 0.044715 * pre**3)
        act = edit("mlp.act", number, 0.5 * pre * (1 + cubic.tanh()))
        out = edit("mlp.out", number, act)
        hidden = hidden + out @ layer.mlp.c_proj.weight + layer.mlp.c_proj.bias
        hidden = edit("resid", number, hidden)
    return norm(hidden, body.ln_f) @ net.lm_head.weight.T


FORWARDS = {"llama": gated, "phi3": gated, "gpt2": plain}
