"""The built-in model before its training: a small Llama, and the weights it starts from."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from langneurons.mini.recipe import Recipe

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
