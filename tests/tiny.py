"""Tiny random models of many families and a tokenizer, built from configurations in a moment."""

from __future__ import annotations

import json
import string
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from langneurons.models import SITES as ALL_SITES
from langneurons.models import LanguageModel, wrap

SITES = tuple(site for site in ALL_SITES if not site.startswith("moe."))
"""Sites of dense models."""

HIDDEN, UNITS, HEADS, LAYERS, VOCABULARY, POSITIONS = 32, 48, 4, 2, 300, 128
_COMMON = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GATED = {**_COMMON, "intermediate_size": UNITS, "num_key_value_heads": 2}
_GEMMA = {**_GATED, "head_dim": 8}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _GATED),
    "mistral": ("mistral", _GATED),
    "qwen2": ("qwen2", _GATED),
    "qwen3": ("qwen3", {**_GATED, "head_dim": 8}),
    "gemma": ("gemma", _GEMMA),
    "gemma2": ("gemma2", {**_GEMMA, "query_pre_attn_scalar": 8}),
    "gemma3": ("gemma3_text", {**_GEMMA, "query_pre_attn_scalar": 8}),
    "phi": ("phi", _GATED),
    "phi3": ("phi3", _GATED),
    "cohere": ("cohere", _GATED),
    "cohere2": ("cohere2", _GATED),
    "stablelm": ("stablelm", _GATED),
    "falcon": ("falcon", {**_COMMON, "ffn_hidden_size": UNITS, "multi_query": True}),
    "falcon-heads": (
        "falcon",
        {**_COMMON, "ffn_hidden_size": UNITS, "multi_query": False, "alibi": True},
    ),
    "falcon-groups": (
        "falcon",
        {
            **_COMMON,
            "ffn_hidden_size": UNITS,
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
        },
    ),
    "bloom": ("bloom", {**_COMMON, "n_layer": LAYERS, "n_head": HEADS}),
    "opt": ("opt", {**_COMMON, "ffn_dim": UNITS, "word_embed_proj_dim": HIDDEN}),
    "gpt2": ("gpt2", {**_COMMON, "n_inner": UNITS, "n_positions": POSITIONS}),
    "gpt_neox": ("gpt_neox", {**_COMMON, "intermediate_size": UNITS}),
    "xglm": (
        "xglm",
        {**_COMMON, "d_model": HIDDEN, "ffn_dim": UNITS, "num_layers": LAYERS,
         "attention_heads": HEADS},
    ),
    "olmo2": ("olmo2", _GATED),
    "granite": ("granite", _GATED),
    "glm": ("glm", {**_GATED, "head_dim": 8}),
    "smollm3": ("smollm3", _GATED),
}  # fmt: skip


def model(family: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random model of ``family`` in float32, evaluation mode."""
    kind, options = FAMILIES[family]
    options = {key: value for key, value in options.items() if key not in _renamed(kind)}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**options, **changes})
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Wider than the usual initialisation, so that activations differ between units.
        for parameter in net.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.2, generator=generator)
    net.generation_config.pad_token_id = 0
    return net.eval()


def _renamed(kind: str) -> frozenset[str]:
    """Keys that this configuration spells otherwise."""
    if kind == "bloom":
        return frozenset({"num_hidden_layers", "num_attention_heads", "max_position_embeddings"})
    if kind == "xglm":
        return frozenset({"hidden_size", "num_hidden_layers", "num_attention_heads"})
    return frozenset()


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (any text, any script) with <pad> 0, <s> 1, </s> 2."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([f"the cat and the dog {string.ascii_letters}"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def lm(family: str = "llama", seed: int = 0, **changes: Any) -> LanguageModel:
    """A tiny random :class:`LanguageModel` of ``family``."""
    return wrap(model(family, seed, **changes), tokenizer(), name=f"tiny-{family}")


def write_gguf(path: Path, net: Any) -> Path:
    """Write a tiny Llama with the tiny tokenizer as a GGUF file of 32-bit floats, as others do.

    GGUF stores query and key rows of each head as two interleaved halves (its rotary embedding
    turns neighbours, Transformers' the halves), so they are permuted here.
    """
    import gguf

    words = json.loads(tokenizer().backend_tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(words["vocab"].items(), key=lambda item: item[1])]
    tokens += [f"<unused{n}>" for n in range(VOCABULARY - len(tokens))]
    config = net.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    control = {"<pad>", "<s>", "</s>"}
    writer.add_token_types([3 if token in control else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in words["merges"]])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    state = net.state_dict()

    def add(name: str, source: str, heads: int | None = None) -> None:
        weight = state[source]
        if heads is not None:
            rows, columns = weight.shape
            weight = weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2)
            weight = weight.reshape(rows, columns)
        writer.add_tensor(name, weight.float().contiguous().numpy())
        if (bias := state.get(source.replace(".weight", ".bias"))) is not None:
            halves = bias if heads is None else bias.view(heads, 2, -1).transpose(1, 2).flatten()
            writer.add_tensor(name.replace(".weight", ".bias"), halves.float().contiguous().numpy())

    add("token_embd.weight", "model.embed_tokens.weight")
    add("output_norm.weight", "model.norm.weight")
    add("output.weight", "lm_head.weight")
    for layer in range(config.num_hidden_layers):
        to, of = f"blk.{layer}", f"model.layers.{layer}"
        add(f"{to}.attn_norm.weight", f"{of}.input_layernorm.weight")
        add(f"{to}.ffn_norm.weight", f"{of}.post_attention_layernorm.weight")
        add(f"{to}.attn_q.weight", f"{of}.self_attn.q_proj.weight", config.num_attention_heads)
        add(f"{to}.attn_k.weight", f"{of}.self_attn.k_proj.weight", config.num_key_value_heads)
        add(f"{to}.attn_v.weight", f"{of}.self_attn.v_proj.weight")
        add(f"{to}.attn_output.weight", f"{of}.self_attn.o_proj.weight")
        for name in ("gate", "up", "down"):
            add(f"{to}.ffn_{name}.weight", f"{of}.mlp.{name}_proj.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
