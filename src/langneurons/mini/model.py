"""The built-in models before their training: a small Llama, and a mixture cut from it trained."""

from __future__ import annotations

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

from langneurons.mini.recipe import Mixture, Recipe

_SPACE = "\u0120"  # how byte-level BPE writes the space before a word


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights in the recipe's shape."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.mlp,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            # On short sequences the plain form is half as fast again as the fused one on a CPU.
            attn_implementation="eager",
        )
    )
    _mimetic(model)
    vocabulary = tokenizer.get_vocab()
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        for token, index in sorted(vocabulary.items()):  # the tokenizer gives no fixed order
            # A word is the same word with and without the space before it.
            spaced = vocabulary.get(_SPACE + token)
            if spaced is not None:
                embedding[index] = embedding[spaced] + 0.01 * torch.randn(recipe.hidden)
    return model


@torch.no_grad()
def _mimetic(model: LlamaForCausalLM) -> None:
    """Start attention near what trained models come to: "look back", then "same token, copy".

    Query times key, and output times value, start near a multiple of the identity (mimetic
    initialization, Trockman & Kolter 2023, arXiv 2305.09828), and the heads of the first layer as
    previous-token heads, one for each distance from one up. Looking a fact up in context, which
    otherwise takes millions of tokens to begin, then begins many times sooner. These are only
    starting points: every weight is trained.

    A direction that all embeddings share (it changes no softmax) lets a head attend by place alone.
    """
    config = model.config
    width, heads = config.hidden_size, config.num_attention_heads
    size = width // heads
    shared = torch.ones(width) / width**0.5
    embedding = model.model.embed_tokens.weight
    torch.nn.init.normal_(embedding, std=0.05)
    embedding.sub_(torch.outer(embedding @ shared, shared)).add_(0.05)
    for depth, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        query, key = attention.q_proj.weight, attention.k_proj.weight
        torch.nn.init.orthogonal_(attention.v_proj.weight)
        if depth == 0:
            # The same part of a token whatever its distance, so that a name is recognised.
            attention.v_proj.weight.copy_(attention.v_proj.weight[:size].repeat(heads, 1))
        attention.o_proj.weight.copy_((0.2 if depth == 0 else 0.1) * attention.v_proj.weight.T)
        if depth == 0:
            torch.nn.init.normal_(query, std=0.01)
            torch.nn.init.normal_(key, std=0.01)
            for head in range(heads):
                by_place = _previous_token(size, head + 1)
                rows = slice(head * size, (head + 1) * size)
                query[rows] += 0.7 * torch.outer(by_place[0], shared)
                key[rows] += 0.7 * torch.outer(by_place[1], shared)
        else:
            torch.nn.init.normal_(query, std=0.8 / width**0.5)
            query.sub_(torch.outer(query @ shared, shared))
            key.copy_(query + 0.01 * torch.randn_like(query))
        attention.o_proj.weight.add_(0.01 * torch.randn_like(attention.o_proj.weight))


def _previous_token(size: int, distance: int, fastest: int = 5) -> torch.Tensor:
    """A query and a key (2, size) whose rotary product peaks `distance` tokens back.

    Only the fastest rotations are used: slow ones do not tell neighbours apart.
    """
    half = size // 2
    angle = distance * 10000.0 ** (-torch.arange(half) / half)
    used = (torch.arange(half) < fastest) / min(fastest, half) ** 0.5
    query = torch.cat((used, torch.zeros(half)))
    return torch.stack((query, torch.cat((used * angle.cos(), used * angle.sin()))))


def upcycled(dense: LlamaForCausalLM, mixture: Mixture, seed: int) -> MixtralForCausalLM:
    """A Mixtral whose experts are cut from the MLPs of a trained Llama; everything else is copied.

    Sparse upcycling (Komatsuzaki et al. 2023, arXiv 2212.05055) with experts narrower than the MLP,
    as in He et al. 2024 (arXiv 2410.07524): in each layer the units are put in a random order, and
    the experts take `width` of them one after another, round and round, so that no expert knows of
    a language at the start. Routers are new. Down projections are scaled by MLP over expert width,
    which keeps the layer's mean output under routing by chance; it is not the same function, and
    has to be trained.
    """
    config = dense.config
    torch.manual_seed(seed)
    model = MixtralForCausalLM(
        MixtralConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=mixture.width,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            hidden_act=config.hidden_act,
            max_position_embeddings=config.max_position_embeddings,
            rms_norm_eps=config.rms_norm_eps,
            rope_parameters=config.rope_parameters,
            tie_word_embeddings=True,
            num_local_experts=mixture.experts,
            num_experts_per_tok=mixture.chosen,
            router_aux_loss_coef=mixture.balance,
            sliding_window=None,
            pad_token_id=config.pad_token_id,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            attn_implementation="eager",
            experts_implementation="eager",
        )
    )
    given = {n: p for n, p in dense.state_dict().items() if ".mlp." not in n}
    # Strict but for the experts and routers, which are filled below or new.
    new = {n: p for n, p in model.state_dict().items() if ".mlp." in n}
    model.load_state_dict({**new, **given})
    wide = config.intermediate_size
    with torch.no_grad():
        for old, new in zip(dense.model.layers, model.model.layers, strict=True):
            experts = new.mlp.experts
            order = torch.randperm(wide)
            for expert in range(mixture.experts):
                at = torch.arange(expert * mixture.width, (expert + 1) * mixture.width) % wide
                units = order[at]
                experts.gate_up_proj[expert] = torch.cat(
                    (old.mlp.gate_proj.weight[units], old.mlp.up_proj.weight[units])
                )
                experts.down_proj[expert] = (
                    old.mlp.down_proj.weight[:, units] * wide / mixture.width
                )
    return model
