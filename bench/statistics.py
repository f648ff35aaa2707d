"""Cost of collecting statistics, as a ratio to the plain forward pass without logits.

One decoder layer of the shape of Llama 3.1 8B (hidden 4096, 14336 units), random weights,
full blocks without padding. All contestants run the same batch in turn, so that a change of the
machine's load meets all alike; ratios are medians over rounds of the time against the plain
forward in the same round. On a CPU the time is that of the process, on one thread.

The released code's way, as the paper describes it: one pass that takes the mean and seven
``torch.quantile`` calls a batch of the gate projection's output in float32, and a second pass that
counts activations above each unit's 90th percentile. It computes logits too; they are left out
here, which favours it.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from bench._ratios import note
from langneurons.data import Blocks
from langneurons.models import LanguageModel, hook_site, wrap
from langneurons.models.precision import fast_dtype
from langneurons.statistics import LanguageStatistics, Statistics, quantiles_of, run_backbone
from langneurons.statistics.collector import Collector, Progress
from langneurons.statistics.moments import Moments
from langneurons.statistics.options import DEFAULT_ROWS, PAPER_PROBABILITIES
from langneurons.statistics.sample import MemoryRows, RowSample, ScratchRows, select
from langneurons.statistics.storage import save_language

UNITS, HIDDEN, BLOCK = 14336, 4096, 256
ROWS, ROUNDS = DEFAULT_ROWS, 9
RELEASED = "released code, two passes"
CORPUS = 1_000_000  # tokens of the corpus that a batch stands for: its share of the rows is kept


class _NoTokenizer:
    pad_token_id, eos_token_id = 0, 0
    all_special_ids = (0,)


def model(units: int = UNITS, hidden: int = HIDDEN) -> LanguageModel:
    """A random Llama of one layer."""
    torch.manual_seed(0)
    heads = max(hidden // 128, 1)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=units,
        num_hidden_layers=1,
        num_attention_heads=heads,
        num_key_value_heads=max(heads // 4, 1),
        vocab_size=1024,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # A dtype that the device only emulates would make the plain pass slow and any cost look small.
    net = AutoModelForCausalLM.from_config(config, dtype=fast_dtype(device)).to(device)
    return wrap(net, _NoTokenizer(), "bench")


def full_blocks(count: int) -> Blocks:
    """Blocks of random tokens, one document each, all tokens counted."""
    generator = torch.Generator().manual_seed(1)
    shape = (count, BLOCK)
    everything = torch.ones(shape, dtype=torch.bool)
    return Blocks(
        torch.randint(1, 1024, shape, generator=generator),
        everything,
        everything,
        torch.arange(count),
        torch.arange(BLOCK).expand(shape),
        torch.randint(-(2**62), 2**62, (count,), generator=generator),
    )


def contestants(lm: LanguageModel, blocks: Blocks) -> dict[str, Callable[[], None]]:
    """One batch of each way of working."""
    index = torch.arange(len(blocks))
    mask = blocks.attention_mask
    tokens = blocks.tokens

    def plain() -> None:
        run_backbone(lm, blocks.input_ids, mask)

    def collector(rows: int) -> Collector:
        selection = select(blocks, rows, 0)
        width = lm.sites["mlp.act"].width
        writer = MemoryRows(torch.zeros(1, len(selection), width, dtype=torch.bfloat16))
        return Collector(lm, "mlp.act", blocks, index, selection, writer, False, Progress())

    def step(with_rows: Collector) -> Callable[[], None]:
        def run() -> None:
            with with_rows.hooked():
                with_rows.step(index)

        return run

    def first_pass(_: int, x: torch.Tensor) -> None:
        flat = x.reshape(-1, x.shape[-1]).float()
        flat.mean(0)
        for p in PAPER_PROBABILITIES:
            torch.quantile(flat, p, dim=0)

    threshold = torch.full((lm.sites["mlp.act"].width,), 0.1, device=lm.device)

    def second_pass(_: int, x: torch.Tensor) -> None:
        (x.reshape(-1, x.shape[-1]).float() > threshold).sum(0)

    def released() -> None:
        with hook_site(lm, "mlp.pre", first_pass):
            plain()
        with hook_site(lm, "mlp.act", second_pass):
            plain()

    share = max(1, round(ROWS * tokens / CORPUS))
    return {
        "plain forward": plain,
        "counts, moments": step(collector(0)),
        f"the same and {share} of {tokens} rows": step(collector(share)),
        "the same and every row": step(collector(tokens)),
        RELEASED: released,
    }


def measure(batch: int = 2, rounds: int = ROUNDS, **shape: int) -> list[dict[str, Any]]:
    """One row a contestant: seconds a batch and ratio to the plain forward."""
    lm = model(**shape)
    blocks = full_blocks(batch if lm.device.type == "cpu" else 16 * batch)
    ways = contestants(lm, blocks)
    times: dict[str, list[float]] = {name: [] for name in ways}
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    with torch.no_grad():
        for number in range(rounds + 1):
            for name, way in ways.items():
                if name == RELEASED and number % 3:  # it takes as long as all others together
                    continue
                seconds = _timed(way, lm.device)
                if number:  # the first round warms up
                    times[name].append(seconds)
                    ratios[name].append(seconds / times["plain forward"][-1])
    return [
        {
            "name": name,
            "seconds": statistics.median(taken),
            "ratio": statistics.median(ratios[name]),
        }
        for name, taken in times.items()
    ]


def _timed(way: Callable[[], None], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        way()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    way()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def quantile_error(tokens: int, rows: int, units: int = 64) -> tuple[float, float]:
    """Error in probability of sampled quantiles: mean and 99.9th percentile over units and p.

    The sample is drawn by the real keys; the activations are SiLU of normal values, the units
    differing in mean and spread.
    """
    blocks = full_blocks(tokens // BLOCK)
    generator = torch.Generator().manual_seed(2)
    centre = torch.randn(units, generator=generator)
    spread = torch.rand(units, generator=generator) + 0.2
    x = torch.randn(tokens, units, generator=generator) * spread + centre
    x = torch.nn.functional.silu(x).bfloat16()
    chosen = select(blocks, rows, 0)
    found = quantiles_of(x[chosen.block * BLOCK + chosen.column], PAPER_PROBABILITIES)
    ordered = x.float().sort(dim=0).values.T.contiguous()
    wanted = found.float().T.contiguous()
    below = torch.searchsorted(ordered, wanted).double() / tokens
    upto = torch.searchsorted(ordered, wanted, right=True).double() / tokens
    p = torch.tensor(PAPER_PROBABILITIES, dtype=torch.float64)
    # A value held by many tokens covers a range of probabilities.
    error = torch.maximum(below - p, p - upto).clamp_min(0)
    return float(error.mean()), float(error.flatten().quantile(0.999))


def peak_memory(layers: int = 32) -> int:
    """Bytes of resident memory that the statistics of an 8B shape add at their peak.

    All accumulators, and the rows of two layers going from scratch to their final files; measured
    in a process of its own.
    """
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def body() -> None:
        torch.set_num_threads(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with tempfile.TemporaryDirectory() as folder:
            _work_in_full_width(Path(folder), layers)
        send.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

    child = context.Process(target=body)
    child.start()
    child.join()
    return int(receive.recv()) * 1024


def _work_in_full_width(folder: Path, layers: int) -> None:
    empty = Moments.empty((layers, UNITS))
    moments = empty.merge(Moments(1, *empty.tensors().values()))
    rows = ScratchRows(folder / "scratch", 2, ROWS, UNITS, torch.bfloat16)
    part = torch.randn(256, UNITS).bfloat16()
    for layer in range(2):
        for start in range(0, ROWS, 256):
            rows.write(layer, torch.arange(start, start + 256), part)
    columns = (torch.arange(ROWS) for _ in range(4))
    sample = RowSample(ROWS, 0, *columns, rows)
    item = LanguageStatistics(1, moments.count, moments)
    save_language(Statistics("mlp.act", (layers, UNITS), None, {"xx": item}), "xx", folder)
    narrow = LanguageStatistics(1, moments.count[:2], sample=sample)
    save_language(Statistics("mlp.act", (2, UNITS), None, {"yy": narrow}), "yy", folder)


def run(console: Any) -> None:
    """Measure and print."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = measure()
    finally:
        torch.set_num_threads(threads)
    console.print(
        f"statistics, one layer of {UNITS} units, {rows[0]['seconds']:.2f} s a plain batch"
    )
    plain = rows[0]["seconds"]
    for row in rows[1:]:
        note(f"statistics: {row['name']}", row["seconds"], "the plain forward pass", plain)
    for row in rows:
        console.print(f"  {row['name']:<32} {row['ratio']:.3f} x")
    console.print("error of quantiles in probability, mean and 99.9th percentile")
    for tokens in (16384, 65536, 262144):
        mean, high = quantile_error(tokens, ROWS)
        console.print(f"  {ROWS} rows of {tokens:>7,} tokens: {mean:.4f}  {high:.4f}")
    console.print(f"peak memory at 32 x {UNITS}: {peak_memory() / 1e9:.2f} GB beyond the model")
