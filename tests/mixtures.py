"""Tiny random mixtures of experts, and their routing by hand from a router's input and weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

import tiny
from langneurons.models import LanguageModel, wrap

EXPERTS, CHOSEN = 6, 2
_COMMON: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
    "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "num_experts_per_tok": CHOSEN,
}  # fmt: skip
_LOCAL = {**_COMMON, "num_local_experts": EXPERTS}
_GROUPED = {**_COMMON, "n_routed_experts": EXPERTS, "n_group": 2, "topk_group": 1,
            "n_shared_experts": 1, "first_k_dense_replace": 1,
            "routed_scaling_factor": 2.5}  # fmt: skip

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Mixtral": ("mixtral", _LOCAL),
    "Qwen2-MoE": ("qwen2_moe", {**_COMMON, "num_experts": EXPERTS, "mlp_only_layers": [1],
                                "shared_expert_intermediate_size": 24}),
    "Qwen3-MoE": ("qwen3_moe", {**_COMMON, "num_experts": EXPERTS, "head_dim": 8,
                                "norm_topk_prob": True}),
    "OLMoE": ("olmoe", {**_COMMON, "num_experts": EXPERTS}),
    "Granite-MoE": ("granitemoe", _LOCAL),
    "Phi-3.5-MoE": ("phimoe", {**_LOCAL, "router_jitter_noise": 0.01}),
    "gpt-oss": ("gpt_oss", {**_LOCAL, "head_dim": 8}),
    "DeepSeek-V3": ("deepseek_v3", {**_GROUPED, "q_lora_rank": 16, "kv_lora_rank": 16,
                                    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
                                    "num_key_value_heads": 4}),
    "GLM-4.5-MoE": ("glm4_moe", {**_GROUPED, "head_dim": 8}),
    "Llama 4 (text)": ("llama4_text", {**_LOCAL, "num_experts_per_tok": 1, "head_dim": 8,
                                       "intermediate_size_mlp": 48, "moe_layers": [0, 2]}),
}  # fmt: skip
"""Family: kind in Transformers and options of a tiny configuration."""


def lm(family: str, seed: int = 0, **changes: Any) -> LanguageModel:
    """A random mixture in float32 whose routers differ between experts."""
    kind, options = {**FAMILIES, **MORE}[family]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**options, **changes})
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 1:
                tensor.normal_(0, 0.2)
            elif name.endswith(("router.bias", "e_score_correction_bias")):
                tensor.normal_(0, 0.3)
    return wrap(net, tiny.tokenizer(), family)


def routers(model: LanguageModel) -> dict[int, torch.nn.Module]:
    """Layer to router, by the names that the families give them."""
    found = {}
    for number, layer in enumerate(model.layer_modules):
        for name, module in layer.named_modules():
            if name.rpartition(".")[2] in ("gate", "router") and "shared" not in name:
                found[number] = module
    return found


def logits(router: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits (tokens, experts) in float64."""
    values = hidden.reshape(-1, hidden.shape[-1]).double() @ router.weight.double().T
    bias = getattr(router, "bias", None)
    return values if bias is None else values + bias.double()


def weights(family: str, router: Any, values: torch.Tensor, off: tuple[int, ...] = ()) -> Any:
    """Routing weights (tokens, experts) in float64 by each family's definition, 0 if not chosen.

    Experts in ``off`` are never chosen and take no part in the normalisation.
    """
    values = values.clone()
    values[:, list(off)] = -torch.inf
    dense = torch.zeros_like(values)
    for row, result in zip(values, dense, strict=True):
        if family in ("DeepSeek-V3", "GLM-4.5-MoE"):
            scores = row.sigmoid()
            by = scores + router.e_score_correction_bias.double()
            halves = by.reshape(2, -1)
            best = int(halves.topk(2)[0].sum(1).argmax())
            width = EXPERTS // 2
            inside = [e for e in range(best * width, (best + 1) * width) if e not in off]
            chosen = sorted(inside, key=lambda e: -float(by[e]))[:CHOSEN]
            for expert in chosen:
                total = sum(scores[e] for e in chosen)
                result[expert] = 2.5 * scores[expert] / total
            continue
        k = 1 if family.startswith("Llama") else CHOSEN
        chosen = torch.argsort(row, descending=True)[:k].tolist()
        picked = row[chosen]
        if family in ("Mixtral", "Granite-MoE", "gpt-oss", "Qwen3-MoE"):
            result[chosen] = functional.softmax(picked, 0)
        elif family in ("Qwen2-MoE", "OLMoE"):
            result[chosen] = functional.softmax(row, 0)[chosen]
        elif family.startswith("Llama"):
            result[chosen] = picked.sigmoid()
        else:  # Phi-3.5: each against those not far below it, the first one taken out
            rest = row.clone()
            for expert in chosen:
                top = rest.max()
                near = (top - row) / row.abs().clamp(min=top) <= 0.02
                result[expert] = functional.softmax(rest.where(near, -torch.inf), 0)[expert]
                rest[expert] = -torch.inf
    return dense


_MORE = {**_LOCAL, "head_dim": 8, "num_experts": EXPERTS, "n_routed_experts": EXPERTS,
         "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1,
         "moe_num_experts": EXPERTS, "moe_k": CHOSEN, "num_hidden_layers": 4}  # fmt: skip
_LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
           "v_head_dim": 8, "num_key_value_heads": 4}  # fmt: skip
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1,
          "mamba_expand": 2}  # fmt: skip

MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3-Next": ("qwen3_next", {**_MORE, "shared_expert_intermediate_size": 16,
                                  "linear_num_value_heads": 4, "linear_num_key_heads": 2,
                                  "linear_key_head_dim": 8, "linear_value_head_dim": 8}),
    "Granite-4 hybrid": ("granitemoehybrid", {
        **_MORE, **_MAMBA, "shared_intermediate_size": 16,
        "layer_types": ["mamba", "attention", "mamba", "mamba"]}),
    "Jamba": ("jamba", {**_MORE, "attn_layer_period": 2, "attn_layer_offset": 1,
                        "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 8,
                        "mamba_dt_rank": 4, "use_mamba_kernels": False}),
    "Nemotron-H": ("nemotron_h", {
        **_MORE, "hybrid_override_pattern": "M*E-", "mamba_num_heads": 4, "mamba_head_dim": 16,
        "ssm_state_size": 8, "n_groups": 1, "moe_shared_expert_intermediate_size": 16}),
    "DeepSeek-V2": ("deepseek_v2", {**_MORE, **_LATENT, "topk_method": "greedy"}),
    "Ernie 4.5": ("ernie4_5_moe", _MORE),
    "Hunyuan": ("hunyuan_v1_moe", _MORE),
    "LFM2-MoE": ("lfm2_moe", {
        **_MORE, "num_dense_layers": 1,
        "layer_types": ["conv", "full_attention", "conv", "full_attention"]}),
    "MiniMax": ("minimax", _MORE),
    "FlexOlmo": ("flex_olmo", _MORE),
    "JetMoe": ("jetmoe", _MORE),
}  # fmt: skip
"""Others, whose routers are tried and not computed by hand."""
