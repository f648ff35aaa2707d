"""Classes built tiny from their own configuration, with random weights and random biases."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedTokenizerFast

HIDDEN, UNITS, HEADS, KEYS, SIZE, LAYERS, VOCABULARY = 32, 48, 4, 2, 8, 2, 300
MOST = 8_000_000
"""Parameters above which a class is not built: its configuration could not be made small."""

IDS = torch.tensor([[0, 0, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])

_SMALL: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim",
                     "emb_dim", "input_embedding_size", "output_embedding_size", "lru_width",
                     "embedding_dim"), HIDDEN),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "dff",
                     "ffn_hidden_size", "n_inner", "dim_ff", "d_inner", "feed_forward_size",
                     "intermediate_size_mlp", "dense_intermediate_size"), UNITS),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size",
                     "shared_intermediate_size", "shared_experts_intermediate_size",
                     "expert_ffn_hidden_size", "moe_shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
                     "decoder_layers", "num_decoder_layers", "num_encoder_layers", "num_blocks",
                     "depth"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads",
                     "encoder_attention_heads", "decoder_attention_heads",
                     "num_encoder_attention_heads", "num_decoder_attention_heads",
                     "swa_num_attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"), KEYS),
    **dict.fromkeys(("head_dim", "d_head", "attention_head_size", "kv_channels", "swa_head_dim",
                     "dim_head", "global_head_dim"), SIZE),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len",
                     "context_length", "model_max_length"), 64),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank", "dim_model_base"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "v_head_dim", "index_head_dim", "linear_head_dim",
                     "linear_key_head_dim", "linear_value_head_dim", "mamba_d_state", "state_size",
                     "mamba_d_head", "ssm_state_size", "mamba_head_dim", "mamba_headdim",
                     "mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "mamba_chunk_size",
                     "chunk_size",
                     "hidden_size_per_layer_input", "laurel_rank", "query_pre_attn_scalar",
                     "ple_embed_dim"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "rotary_dim", "index_topk", "adapter_rank",
                     "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts",
                     "linear_num_value_heads", "time_step_rank", "mamba_dt_rank"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k",
                     "linear_num_key_heads", "linear_num_heads", "index_n_heads",
                     "attn_layer_period", "type_vocab_size"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "n_groups", "mamba_n_groups",
                     "mamba_ngroups",
                     "n_shared_experts", "num_shared_experts", "first_k_dense_replace",
                     "attn_layer_offset", "num_mem_blocks"), 1),
    "qk_head_dim": 12, "mamba_d_ssm": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "sliding_window": 16, "attention_window_size": 16,
}  # fmt: skip

_OWN: dict[str, dict[str, Any]] = {
    # Where a class needs more than small numbers: layers of every kind.
    "jamba": {"num_hidden_layers": 4, "use_mamba_kernels": False, "expert_layer_period": 2,
              "expert_layer_offset": 1},
    "nemotron_h": {"layers_block_type": ["linear_attention", "full_attention", "mlp", "moe"]},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "gemma3n_text": {"num_hidden_layers": 4, "intermediate_size": [UNITS] * 4,
                     "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0],
                     "num_kv_shared_layers": 0,
                     "layer_types": ["sliding_attention", "full_attention"] * 2},
    **{key: {"head_dim": SIZE} for key in ("ministral", "hunyuan_v1_dense", "hunyuan_v1_moe")},
    "mamba2": {"num_heads": 8},
    "roc_bert": {"pronunciation_vocab_size": 20, "shape_vocab_size": 20},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 3},
    "bamba": {"attn_layer_indices": [1]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "zaya": {"num_experts_per_tok": 1},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"],
                         "shared_intermediate_size": UNITS},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2": {"block_auto_adjust_ff_dim": False,
             "layer_types": ["conv", "full_attention"]},
    "gemma4_text": {"num_kv_shared_layers": 0},
    "recurrent_gemma": {"intermediate_size": 2 * UNITS, "num_hidden_layers": 3},
}  # fmt: skip


class NotBuiltError(Exception):
    """The class cannot be built small; the message says why."""


def small(kind: type[Any], model_type: str) -> Any:
    """A small configuration of class ``kind``, its parts (text, vision) small too."""
    known = kind().to_dict()
    values: dict[str, Any] = {
        name: _SMALL[name]
        for name, usual in known.items()
        if name in _SMALL and (usual is None or isinstance(usual, int))
        and not isinstance(usual, bool) and not (usual is None and name not in _DESPITE_NONE)
    }  # fmt: skip
    for name, part in getattr(kind, "sub_configs", {}).items():
        usual = known.get(name)
        own = usual.get("model_type") if isinstance(usual, Mapping) else None
        inner = CONFIG_MAPPING[own] if own in list(CONFIG_MAPPING) else part
        if getattr(inner, "model_type", ""):
            values[name] = small(inner, inner.model_type).to_dict()
    if "kv_lora_rank" in known and "num_key_value_heads" in values:
        values["num_key_value_heads"] = HEADS  # the latent is spread over all heads
    if "qk_rope_head_dim" in known and "head_dim" in values:
        values["head_dim"] = values["qk_rope_head_dim"]
    if "is_decoder" in known:
        values["is_decoder"] = True
    values |= _OWN.get(model_type, {})
    return kind(**values)


_DESPITE_NONE = frozenset({"n_inner", "num_key_value_heads", "ffn_hidden_size", "pad_token_id",
                           "bos_token_id", "eos_token_id", "num_kv_heads",
                           "num_experts_per_tok"})  # fmt: skip


def built(model_type: str, name: str) -> nn.Module:
    """The class with random weights, biases among them, in float32 and evaluation mode."""
    try:
        kind = getattr(transformers, name)
        config = small(kind.config_class, kind.config_class.model_type)
        torch.manual_seed(0)
        size = parameters(kind, config)
        if size > MOST:
            raise NotBuiltError(f"its configuration stays large ({size:,} parameters)")
        net: nn.Module = kind(config).float().eval()
    except NotBuiltError:
        raise
    except Exception as error:
        raise NotBuiltError(f"{type(error).__name__}: {line(error)}") from error
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for place, parameter in net.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.2, generator=generator)
            elif place.endswith("bias"):
                parameter.normal_(0.0, 0.3, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    for table in net.buffers():
        if table.shape == (VOCABULARY, 2) and table.dtype == torch.int64:
            # A table of each token's two of four experts (DeepSeek V4), all 0 before it is loaded.
            table.copy_(torch.arange(VOCABULARY)[:, None] + torch.tensor([0, 1])).remainder_(4)
    try:
        with torch.no_grad():
            logits = net(input_ids=IDS[:1], use_cache=False).logits
    except Exception as error:
        raise NotBuiltError(f"does not run on ids alone: {line(error)}") from error
    if not bool(logits.isfinite().all()):
        raise NotBuiltError("gives infinite logits with random weights")
    return net


def parameters(kind: type[Any], config: Any) -> int:
    """Parameters the class would have; 0 where it can only be built for good."""
    try:
        with init_empty_weights():
            return sum(p.numel() for p in kind(copy.deepcopy(config)).parameters())
    except Exception:
        return 0


def line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error))[:160].strip()


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Words w3, w4, ... as ids 3, 4, ..., with padding, begin and end."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["<pad>", "<s>", "</s>", *(f"w{number}" for number in range(3, VOCABULARY))]
    core = Tokenizer(models.WordLevel({w: n for n, w in enumerate(names)}, unk_token="w3"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
