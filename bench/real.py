"""Real pretrained models: cost of collecting and of perplexity against the bare forward pass.

Needs `make real-models`. Ratios are medians over rounds in which all contestants run the same
blocks in turn.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import langneurons as ln
from langneurons.data import Blocks, batches, make_blocks
from langneurons.evaluation import perplexity
from langneurons.models import LanguageModel
from langneurons.statistics import collect, run_backbone

ON_REQUEST = True
ROOT = Path(__file__).resolve().parents[1]
MODELS = ("gemma-3-270m-q4_k_m.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf")
DTYPES = ("float32", "bfloat16")
TOKENS, BLOCK, ROUNDS = 4096, 128, 3


def text(lm: LanguageModel) -> Blocks:
    """Full blocks of random tokens: what a token is changes nothing of the time."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(100, 5000, (TOKENS // BLOCK, BLOCK), generator=generator)
    documents = [lm.tokenizer.decode(row.tolist()) for row in words]
    return make_blocks(documents, lm.tokenizer, block=BLOCK, tokens=TOKENS)


def contestants(lm: LanguageModel, blocks: Blocks) -> dict[str, Callable[[], Any]]:
    """One pass over the blocks each way; the batches are those of `collect`."""
    batch = 16

    def plain() -> None:
        for part in batches(blocks, batch_size=batch):
            run_backbone(lm, part.input_ids, part.attention_mask)

    return {
        "plain forward, no logits": plain,
        "collect": lambda: collect(lm, {"xx": blocks}, batch_size=batch, rows=512),
        "perplexity": lambda: perplexity(lm, blocks, batch_size=batch),
    }


def measure(model: Path, dtype: str) -> list[tuple[str, float, float]]:
    """Name, tokens a second and time as a ratio to the plain forward."""
    lm = ln.load(model, dtype=dtype, device="cpu")
    blocks = text(lm)
    ways = contestants(lm, blocks)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with torch.no_grad():
        for number in range(ROUNDS + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                if number:  # the first round warms up
                    taken[name].append(time.perf_counter() - start)
    plain = taken["plain forward, no logits"]
    return [
        (
            name,
            blocks.tokens / statistics.median(times),
            statistics.median(a / b for a, b in zip(times, plain, strict=True)),
        )
        for name, times in taken.items()
    ]


def run(console: Any) -> None:
    """Measure and print."""
    there = [ROOT / "real-models" / name for name in MODELS]
    there = [path for path in there if path.is_file()]
    if not there:
        console.print("no real model here: run `make real-models` first")
    for path in there:
        for dtype in DTYPES:
            console.print(f"{path.name}, {dtype}, {torch.get_num_threads()} threads")
            for name, rate, ratio in measure(path, dtype):
                console.print(f"  {name:<26} {rate:>7,.0f} tokens/s   {ratio:.2f} x")
    if there:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        console.print(f"peak memory of all this: {peak:.1f} GB")
