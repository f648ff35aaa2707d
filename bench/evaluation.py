"""Evaluation: batched cached generation against one-by-one uncached; head scoring against bare
forward passes on the same length-sorted batches.

Rounds are interleaved in one process, so that a change of the machine's load meets all alike;
ratios are medians over rounds. On a CPU the time is that of the process, on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from bench._ratios import note
from langneurons.evaluation.batching import sequence_batches
from langneurons.evaluation.classification import classify
from langneurons.evaluation.qa import generate
from langneurons.models import LanguageModel, wrap

VOCABULARY, PROMPTS, NEW, BATCH = 2048, 16, 48, 16
LENGTHS = (135, 220)
"""Of the prompts: the middle half of XQuAD's English questions in tokens of SmolLM2."""
SENTENCES, ROUNDS = 96, 3


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, none of them a line break, so that no answer ends early."""
    words = {f"w{i}": i for i in range(VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token="w1"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="w0")


def config() -> LlamaConfig:
    """A shape common in small models."""
    return LlamaConfig(
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        vocab_size=VOCABULARY,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        num_labels=3,
    )


def sequences(count: int, shortest: int, longest: int) -> list[list[int]]:
    """Random token ids of lengths drawn evenly."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(2, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


def _timed(work: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    work()
    return time.process_time() - start


def one_by_one_uncached(lm: LanguageModel, prompts: list[list[int]]) -> None:
    """As the released code generates: each prompt alone, the whole text anew for every token."""
    options = GenerationConfig(
        max_new_tokens=NEW, do_sample=False, use_cache=False, pad_token_id=0, eos_token_id=None
    )
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor([prompt], device=lm.device)
            mask = torch.ones_like(ids)
            lm.model.generate(input_ids=ids, attention_mask=mask, generation_config=options)


def bare_forwards(lm: LanguageModel, rows: list[list[int]]) -> None:
    """Nothing but the forward passes, on the same batches."""
    with torch.no_grad():
        for batch in sequence_batches(rows, pad=0):
            on_device = batch.to(lm.device)
            lm.model(input_ids=on_device.input_ids, attention_mask=on_device.attention_mask)


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of each contestant, and the two ratios."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    words = tokenizer()
    lm = wrap(AutoModelForCausalLM.from_config(config()).to(device), words, "bench")
    head = lm.with_model(AutoModelForSequenceClassification.from_config(config()).to(device).eval())
    prompts = sequences(PROMPTS, *LENGTHS)
    rows = sequences(SENTENCES, 20, 90)
    work: dict[str, Callable[[], Any]] = {
        "generate": lambda: generate(lm, prompts, max_new_tokens=NEW, batch_size=BATCH),
        "uncached": lambda: one_by_one_uncached(lm, prompts),
        "classify": lambda: classify(head, rows),
        "forward": lambda: bare_forwards(head, rows),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, run_once in work.items():
            if number == 0 and name == "uncached":
                continue  # the first round warms up, for which the slowest need not run
            seconds = _timed(run_once)
            if number:
                times[name].append(seconds)

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))

    return {
        **{name: statistics.median(values) for name, values in times.items()},
        "speed-up": ratio("uncached", "generate"),
        "overhead": ratio("classify", "forward"),
    }


def run(console: Any) -> None:
    """Measure and print."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = measure()
    finally:
        torch.set_num_threads(threads)
    note(
        f"answers to {PROMPTS} prompts, batched and cached", found["generate"],
        "released code: one by one, no cache", found["uncached"], wanted="1/15",
    )  # fmt: skip
    note(
        f"classes of {SENTENCES} inputs", found["classify"],
        "bare forward passes of Transformers", found["forward"], wanted="1.1",
    )  # fmt: skip
    console.print(
        f"answers, {PROMPTS} prompts of {LENGTHS[0]} to {LENGTHS[1]} tokens, {NEW} new tokens, "
        f"fp32: batch {BATCH} with cache {found['generate']:.1f} s, "
        f"one by one without {found['uncached']:.1f} s, "
        f"{found['speed-up']:.1f} x faster (wanted: 15)"
    )
    console.print(
        f"classification, {SENTENCES} inputs of 20 to 90 tokens: {found['classify']:.2f} s, bare "
        f"forward passes {found['forward']:.2f} s, {found['overhead']:.2f} x (wanted: 1.1)"
    )
