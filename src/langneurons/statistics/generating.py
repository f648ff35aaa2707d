"""Text that the model writes: prompts in, blocks out in which only the generated tokens count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from langneurons.data import Blocks, document_key
from langneurons.data.blocks import NO_POSITION
from langneurons.errors import InputError
from langneurons.models import LanguageModel
from langneurons.models.plain import plain_model
from langneurons.progress import track

_BATCH_POSITIONS = 4096


class Prompts:
    """Prompts of one language, as token ids.

    Args:
        lm: A causal model.
        texts: The prompts, one document each.
        bos: Put the beginning-of-sequence token in front; None does what the tokenizer does.

    Raises:
        InputError: If the model cannot generate, or a prompt has no token.
    """

    def __init__(self, lm: LanguageModel, texts: Iterable[str], bos: bool | None) -> None:
        if not hasattr(plain_model(lm.model), "generate"):
            raise InputError(
                f"{type(lm.model).__name__} cannot generate: generated text needs a causal model."
            )
        listed = [texts] if isinstance(texts, str) else list(texts)
        if not listed:
            raise InputError("there is no prompt: give at least one.")
        self.keys = [document_key(text) for text in listed]
        tokenizer = lm.tokenizer
        made: list[list[int]] = tokenizer(
            listed, add_special_tokens=bos is None, return_attention_mask=False
        )["input_ids"]
        if bos:
            if tokenizer.bos_token_id is None:
                raise InputError(
                    "bos=True, but the tokenizer has no beginning-of-sequence token: leave bos out."
                )
            made = [[int(tokenizer.bos_token_id), *ids] for ids in made]
        ends = set(end_tokens(lm))
        # Tokenizers that close every text (XGLM) would have the model answer to a closed one.
        self.ids = [ids[:-1] if len(ids) > 1 and ids[-1] in ends else ids for ids in made]
        empty = next((n for n, ids in enumerate(self.ids) if not ids), None)
        if empty is not None:
            raise InputError(f"prompt {empty + 1} has no token: take it out, or use bos=True.")


def generate_blocks(
    lm: LanguageModel,
    prompts: Prompts,
    new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    tokens: int | None = None,
    batch_size: int | None = None,
    name: str = "generated text",
) -> Blocks:
    """Let the model go on with each prompt.

    The blocks hold prompt and continuation; counted is what the model wrote, but for special
    tokens. A pass over them gives the activations at those tokens that generation itself would have
    had (with a cache or without, up to rounding), in batches and without padding in the count.

    Args:
        lm: A causal model.
        prompts: The prompts.
        new_tokens: Most tokens to write after each.
        temperature: 0 takes the most probable token; above, tokens are drawn, the logits divided
            by it.
        seed: Seed of the draws. They depend on ``batch_size`` too.
        tokens: Stop with the batch in which so many tokens are counted.
        batch_size: Prompts in a batch; None goes by the number of positions.
        name: For the progress line.

    Returns:
        Blocks, one a prompt, in the order of the prompts.

    Raises:
        InputError: If prompt and continuation do not fit the model's positions, or it wrote
            nothing.
    """
    longest = max(map(len, prompts.ids))
    lm.check_ids(torch.zeros((1, longest + new_tokens), dtype=torch.int64))
    written: list[list[int]] = []
    counted = 0
    special = lm.special_ids
    each = batch_size or max(1, _BATCH_POSITIONS // (longest + new_tokens))
    total = len(prompts.ids)
    with track(name, total, "prompts") as bar, torch.random.fork_rng(), torch.no_grad():
        for start in range(0, total, each):
            part = prompts.ids[start : start + each]
            torch.manual_seed(seed + start)
            found = _continue(lm, part, new_tokens, temperature)
            written += found
            counted += sum(token not in special for ids in found for token in ids)
            bar.advance(len(part))
            if tokens is not None and counted >= tokens:
                break
    if not counted:
        raise InputError("the model wrote no token that counts: give other prompts.")
    return _assemble(lm, prompts, written)


def end_tokens(lm: LanguageModel) -> list[int]:
    """Ids of the tokens that end what the model writes."""
    own = getattr(plain_model(lm.model), "generation_config", None)
    found: Any = getattr(own, "eos_token_id", None)
    if found is None:
        found = lm.tokenizer.eos_token_id
    listed = found if isinstance(found, list | tuple) else [found]
    return [int(token) for token in listed if token is not None]


def _continue(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int, temperature: float
) -> list[list[int]]:
    """What the model writes after each prompt, up to its end token."""
    from transformers import GenerationConfig

    pad = lm.tokenizer.pad_token_id
    pad = 0 if pad is None else int(pad)
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad, dtype=torch.int64)
    mask = torch.zeros((len(prompts), width), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    ends = end_tokens(lm)
    draw = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(
        **(draw if temperature > 0 else {"do_sample": False}),
        num_beams=1,
        max_new_tokens=new_tokens,
        pad_token_id=pad,
        eos_token_id=ends or None,
        use_cache=True,
    )
    model: Any = lm.model
    output: Tensor = model.generate(
        input_ids=ids.to(lm.device), attention_mask=mask.to(lm.device), generation_config=config
    )
    found = []
    for row in output[:, width:].tolist():
        stop = next((n for n, token in enumerate(row) if token in ends), len(row))
        found.append(row[:stop])
    return found


def _assemble(lm: LanguageModel, prompts: Prompts, written: list[list[int]]) -> Blocks:
    n = len(written)
    rows = [[*prompt, *new] for prompt, new in zip(prompts.ids[:n], written, strict=True)]
    width = max(map(len, rows))
    pad = lm.tokenizer.pad_token_id
    ids = torch.full((n, width), 0 if pad is None else int(pad), dtype=torch.int64)
    attention = torch.zeros((n, width), dtype=torch.bool)
    counted = torch.zeros((n, width), dtype=torch.bool)
    position = torch.full((n, width), NO_POSITION, dtype=torch.int64)
    special = torch.tensor(sorted(lm.special_ids), dtype=torch.int64)
    for row, (tokens, prompt) in enumerate(zip(rows, prompts.ids, strict=False)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        attention[row, : len(tokens)] = True
        counted[row, len(prompt) : len(tokens)] = True
        position[row, : len(tokens)] = torch.arange(len(tokens))
    counted &= ~torch.isin(ids, special)
    keys = torch.tensor(prompts.keys[:n], dtype=torch.int64)
    return Blocks(ids, attention, counted, torch.arange(n), position, keys)
