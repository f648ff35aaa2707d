"""Cost of collecting routers and units inside experts, as a ratio to the plain forward pass.

One decoder layer of the shape of Qwen3-30B-A3B (hidden 2048, 128 experts of 768 units, 8 for each
token), random weights, the device's own dtype, full blocks without padding, no logits. All
contestants run the same batch in turn, so that a change of the machine's load meets all alike;
ratios are medians over rounds of the time against the plain forward in the same round. On a CPU the
time is that of the process. Rows are kept for the batch's share of a text of a million tokens.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen3MoeConfig

from bench._ratios import note
from bench.statistics import BLOCK, CORPUS, ROWS, _NoTokenizer, full_blocks
from langneurons.models import LanguageModel, wrap
from langneurons.models.precision import fast_dtype
from langneurons.statistics import run_backbone
from langneurons.statistics.collector import Collector, Progress, _step
from langneurons.statistics.routed import row_width
from langneurons.statistics.sample import MemoryRows, select

HIDDEN, EXPERTS, CHOSEN, INNER = 2048, 128, 8, 768
ROUNDS = 9
SITES = ("moe.router", "moe.act")


def model(
    hidden: int = HIDDEN, experts: int = EXPERTS, chosen: int = CHOSEN, inner: int = INNER
) -> LanguageModel:
    """A random Qwen3-MoE of one layer."""
    torch.manual_seed(0)
    heads = max(hidden // 128, 1)
    config = Qwen3MoeConfig(
        hidden_size=hidden,
        moe_intermediate_size=inner,
        num_experts=experts,
        num_experts_per_tok=chosen,
        num_hidden_layers=1,
        num_attention_heads=heads,
        num_key_value_heads=max(heads // 4, 1),
        vocab_size=1024,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # A dtype that the device only emulates would make the plain pass slow and any cost look small.
    net = AutoModelForCausalLM.from_config(config, dtype=fast_dtype(device)).to(device)
    return wrap(net, _NoTokenizer(), "bench")


def _collectors(lm: LanguageModel, sites: tuple[str, ...], blocks: int) -> list[Collector]:
    text = full_blocks(blocks)
    kept = select(text, max(1, ROWS * text.tokens // CORPUS), 0)
    return [
        Collector(
            lm,
            site,
            text,
            torch.arange(blocks),
            kept,
            MemoryRows(torch.zeros(1, len(kept), row_width(lm.sites[site]), dtype=torch.bfloat16)),
            False,
            Progress(batch_size=blocks),
        )
        for site in sites
    ]


def _contestants(lm: LanguageModel, blocks: int) -> dict[str, Callable[[], None]]:
    text = full_blocks(blocks)

    def plain() -> None:
        run_backbone(lm, text.input_ids, text.attention_mask)

    def collected(sites: tuple[str, ...]) -> Callable[[], None]:
        collectors = _collectors(lm, sites, blocks)

        def go() -> None:
            with contextlib.ExitStack() as stack:
                for item in collectors:
                    stack.enter_context(item.hooked())
                _step(collectors, torch.arange(blocks))

        return go

    return {
        "plain": plain,
        **{site: collected((site,)) for site in SITES},
        " and ".join(SITES): collected(SITES),
    }


def ratios(lm: LanguageModel, blocks: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Median over rounds of each contestant's time against the plain pass of its round."""
    contestants = _contestants(lm, blocks)
    found: dict[str, list[float]] = {name: [] for name in contestants}
    with torch.no_grad():
        for number in range(rounds + 1):
            times = {name: _seconds(lm, go) for name, go in contestants.items()}
            if number:  # the first round warms up
                for name, seconds in times.items():
                    found[name].append(seconds / times["plain"])
    return {name: statistics.median(values) for name, values in found.items()}


def _seconds(lm: LanguageModel, go: Callable[[], None]) -> float:
    on_gpu = lm.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize()
    start = clock()
    go()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - start


def run(console: Any) -> None:
    """Print the ratios and note them in the table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        lm = model()
        blocks = (16384 if lm.device.type == "cuda" else 2048) // BLOCK
        found = ratios(lm, blocks)
    finally:
        torch.set_num_threads(threads)
    for name, ratio in found.items():
        if name != "plain":
            console.print(f"  {name:<32} {ratio:.3f} x the plain forward pass")
            what = f"experts: collect {name}, one layer of Qwen3-30B-A3B"
            note(what, ratio, "the plain forward pass", 1.0, unit="x", wanted="at most 1.10")
