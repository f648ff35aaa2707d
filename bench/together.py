"""Perplexity under many interventions at once against one whole pass for each.

Single units spread evenly over the layers (`unit_effects`), and the bands of layers of a sweep with
three random controls each; the same model, text, head and batches, in turn, on one thread. Results
are compared and must be equal to the last bit. Statistics of two sites in one pass and in one for
each, likewise. And the second of two sets by gradient, which finds what the first has taken.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from bench._ratios import note
from bench.evaluation import tokenizer
from langneurons.data import Blocks, make_blocks
from langneurons.evaluation.language_modelling import PerplexityResult, perplexity
from langneurons.evaluation.together import perplexities
from langneurons.evaluation.token_loss import find_head
from langneurons.identification import Units, identify
from langneurons.intervention import Intervention
from langneurons.models import LanguageModel, wrap
from langneurons.statistics import collect, collect_sites

LAYERS, HIDDEN, UNITS, VOCABULARY = 12, 384, 1024, 2048
SINGLE, BANDS, CONTROLS, ROUNDS = 24, 4, 3, 3


def model() -> LanguageModel:
    """A random Llama, with a vocabulary as small beside its layers as that of an 8B model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=HIDDEN, intermediate_size=UNITS, num_hidden_layers=LAYERS,
        num_attention_heads=6, num_key_value_heads=6, vocab_size=VOCABULARY, pad_token_id=0,
    )  # fmt: skip
    return wrap(AutoModelForCausalLM.from_config(config), tokenizer(), "bench")


def single_units() -> list[Intervention]:
    """Units spread evenly over the layers."""
    return [
        Intervention(Units([number * LAYERS // SINGLE], [number * 7 % UNITS]), 1.0)
        for number in range(SINGLE)
    ]


def bands() -> list[Intervention]:
    """Units of each band of layers, and as many random ones of the band."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for band in range(BANDS):
        layers = range(band * LAYERS // BANDS, (band + 1) * LAYERS // BANDS)
        for _ in range(1 + CONTROLS):
            chosen = torch.randint(UNITS, (len(layers) * 20,), generator=generator)
            where = [layer for layer in layers for _ in range(20)]
            found.append(Intervention(Units(where, chosen.tolist()), 1.0))
    return found


def _seconds(work: Callable[[], list[PerplexityResult]]) -> tuple[float, list[PerplexityResult]]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def compare(
    lm: LanguageModel, blocks: Blocks, items: list[Intervention], rounds: int
) -> tuple[float, float]:
    """Median CPU time of all together, and of one by one."""
    head = find_head(lm)
    times = []
    for _ in range(rounds):
        apart, wanted = _seconds(
            lambda: [perplexity(lm, blocks, intervention=item, head=head) for item in items]
        )
        together, found = _seconds(lambda: perplexities(lm, blocks, items, head=head))
        for one, other in zip(found, wanted, strict=True):
            assert one.rows.equals(other.rows)
        times.append((together, apart))
    together, apart = (statistics.median(found) for found in zip(*times, strict=True))
    return together, apart


def two_sites(lm: LanguageModel, blocks: Blocks, rounds: int) -> tuple[float, float]:
    """Median CPU time of statistics of two sites in one pass, and in a pass for each."""
    sites, text = ["mlp.act", "mlp.pre"], {"xx": blocks}
    times = []
    for _ in range(rounds):
        start = time.process_time()
        wanted = {site: collect(lm, text, site=site, rows=512) for site in sites}
        middle = time.process_time()
        found = collect_sites(lm, text, sites, rows=512)
        times.append((time.process_time() - middle, middle - start))
        assert all(found[site].fingerprint == wanted[site].fingerprint for site in sites)
        for site in sites:
            assert torch.equal(found[site].mean("xx"), wanted[site].mean("xx"))
    together, apart = (statistics.median(each) for each in zip(*times, strict=True))
    return together, apart


def gradient_sets(lm: LanguageModel, texts: list[str]) -> tuple[float, float]:
    """CPU time of the second of two gradient methods on one text, and of the first."""
    given = {"model": lm, "texts": {"a": texts[:4], "b": texts[4:]}, "block": 256}
    start = time.process_time()
    identify(method="gradient", **given)
    middle = time.process_time()
    identify(method="gradient", per_language=0.001, **given)
    return time.process_time() - middle, middle - start


def run(console: Any, rounds: int = ROUNDS) -> None:
    """Measure and print."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        lm = model()
        generator = torch.Generator().manual_seed(1)
        words = torch.randint(1, VOCABULARY, (8, 256), generator=generator).tolist()
        texts = [" ".join(f"w{word}" for word in row) for row in words]
        blocks = make_blocks(texts, lm.tokenizer, block=256)
        found = {
            f"perplexity under {SINGLE} single units of {LAYERS} layers": single_units(),
            f"perplexity under {BANDS} bands of layers, {CONTROLS} controls each": bands(),
        }
        for what, items in found.items():
            together, apart = compare(lm, blocks, items, rounds)
            note(what, together, "a whole pass for each", apart)
            console.print(f"{what}: {apart / together:.2f} x faster together than one by one")
        together, apart = two_sites(lm, blocks, rounds)
        note("statistics of two sites", together, "a pass for each", apart)
        console.print(f"statistics of two sites: {apart / together:.2f} x faster in one pass")
        again, first = gradient_sets(lm, texts)
        note("gradient with another quota", again, "the first set of the text", first)
        console.print(f"gradient with another quota: {again / first:.3f} of the first set's time")
    finally:
        torch.set_num_threads(threads)
