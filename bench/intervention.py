"""Interventions: cost in prefill and in one-token decoding, as a ratio to the plain forward pass.

Rounds are interleaved in one process, so that a change of the machine's load meets all alike;
ratios are medians over rounds. On a CPU the time is that of the process, on one thread.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from bench._ratios import note
from langneurons.identification import Units
from langneurons.intervention import Intervention, Value, bake, intervene
from langneurons.models import LanguageModel, wrap

SHARE = 0.01
LAYERS, UNITS, HIDDEN = 16, 1536, 576
LARGE_LAYERS, LARGE_UNITS = 32, 14336
PROMPT, ROUNDS, STEPS, REPEATS = 128, 9, 12, 30


def random_model(layers: int, units: int, hidden: int) -> LanguageModel:
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=units,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=1024,
    )
    torch.manual_seed(0)
    return wrap(LlamaForCausalLM(config), None, "random")


def random_units(lm: LanguageModel) -> Units:
    """1 % of all units, as identification gives."""
    generator = torch.Generator().manual_seed(0)
    shape = (lm.layers, lm.sites["mlp.act"].width)
    chosen = torch.randperm(shape[0] * shape[1], generator=generator)[
        : int(SHARE * shape[0] * shape[1])
    ]
    return Units(chosen // shape[1], chosen % shape[1])


@contextlib.contextmanager
def looped(lm: LanguageModel, units: Units, value: float) -> Iterator[None]:
    """The pattern of published code: every hook walks all (layer, neuron) pairs."""
    pairs = list(zip(units.layers.tolist(), units.indices.tolist(), strict=True))

    def hook_of(layer: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            for owner, index in pairs:
                if owner == layer:
                    output[:, :, index] = value

        return hook

    handles = [
        module.register_forward_hook(hook_of(layer))
        for layer, module in enumerate(lm.sites["mlp.act"].modules)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def interleaved(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant per round; every round runs them all, one after the other."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, work in variants.items():
            took = work()
            if number:  # the first round warms up
                found[name].append(took)
    return found


def ratios(found: dict[str, list[float]]) -> dict[str, float]:
    """Median over rounds of the ratio to the plain run of the same round."""
    return {
        name: statistics.median(a / b for a, b in zip(times, found["plain"], strict=True))
        for name, times in found.items()
    }


def forward_costs() -> dict[str, float]:
    """Ratios for prefill and for decoding, with a cache, at 1 % of all units."""
    lm = random_model(LAYERS, UNITS, HIDDEN)
    units = random_units(lm)
    baked = bake(lm, units)
    copied = copy.deepcopy(lm.model)  # other memory, same numbers: how much of baked is noise
    values = Value.of(torch.rand(LAYERS, UNITS))
    ids = torch.arange(PROMPT).unsqueeze(0)

    def prefill(model: Any) -> float:
        return seconds(lambda: model(input_ids=ids, use_cache=False, logits_to_keep=1))

    def decode(model: Any) -> float:
        cache = DynamicCache(config=lm.config)
        model(input_ids=ids, past_key_values=cache, logits_to_keep=1)

        def steps() -> None:
            for token in range(STEPS):
                model(input_ids=torch.tensor([[token]]), past_key_values=cache)

        return seconds(steps)

    def under(what: Any, work: Callable[[Any], float]) -> Callable[[], float]:
        def measured() -> float:
            with intervene(lm, what):
                return work(lm.model)

        return measured

    found: dict[str, float] = {}
    for stage, work in (("prefill", prefill), ("decode", decode)):

        def loop(work: Callable[[Any], float] = work) -> float:
            with looped(lm, units, 0.0):
                return work(lm.model)

        variants: dict[str, Callable[[], float]] = {
            "plain": lambda work=work: work(lm.model),  # type: ignore[misc]
            "zero": under(Intervention(units), work),
            "set": under(Intervention(units, values), work),
            "add": under(Intervention(units, values, "add"), work),
            "multiply": under(Intervention(units, 2.0, "multiply"), work),
            "generated only": under(Intervention(units, values, scope="generated"), work),
            "plain, a copy": lambda work=work: work(copied),  # type: ignore[misc]
            "baked zero": lambda work=work: work(baked.model),  # type: ignore[misc]
            "loop over pairs": loop,
        }
        for name, ratio in ratios(interleaved(variants, ROUNDS)).items():
            found[f"{stage}: {name}"] = ratio
    return found


def large_costs() -> dict[str, float]:
    """Added seconds per decoded token at 1 % of 32 x 14336 units: ours, the loop, their ratio.

    Only the activation modules run, as the rest of a model of this size would hide the hooks.
    """
    lm = random_model(LARGE_LAYERS, LARGE_UNITS, 8)
    units = random_units(lm)
    modules = lm.sites["mlp.act"].modules
    token = torch.randn(1, 1, LARGE_UNITS)

    def steps(count: int) -> float:
        return seconds(lambda: [module(token) for _ in range(count) for module in modules]) / count

    def ours() -> float:
        with intervene(lm, units):
            return steps(REPEATS)

    def loop() -> float:
        with looped(lm, units, 0.0):
            return steps(1)

    found = interleaved({"plain": lambda: steps(REPEATS), "ours": ours, "loop": loop}, ROUNDS)
    middle = {name: statistics.median(times) for name, times in found.items()}
    added = {name: max(middle[name] - middle["plain"], 1e-6) for name in ("ours", "loop")}
    return {
        "large: ours, seconds": added["ours"],
        "large: loop, seconds": added["loop"],
        "large: loop / ours": added["loop"] / added["ours"],
    }


@torch.no_grad()
def main() -> dict[str, float]:
    """All measurements by name."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            # The old name of the cache argument is the one every supported version takes.
            warnings.simplefilter("ignore", FutureWarning)
            return {**forward_costs(), **large_costs()}
    finally:
        torch.set_num_threads(threads)


def run(console: Any) -> None:
    """Measure and print."""
    found = main()
    console.print(
        f"Llama shape {LAYERS} x {UNITS}, hidden {HIDDEN}, fp32, {SHARE:.0%} of all units; ratio "
        "to plain (wanted: 1.03 at most, baked as a copy)"
    )
    for name, value in found.items():
        if not name.startswith("large"):
            stage, _, way = name.partition(": ")
            loop = found[f"{stage}: loop over pairs"]
            if way not in ("plain", "loop over pairs"):
                what = f"{stage}, {way}, times plain"
                note(what, value, "a loop over pairs", loop, unit="", wanted="ours 1.03 at most")
            console.print(f"  {name:<26} {value:.3f} x")
    note(
        f"added to a token, {SHARE:.0%} of {LARGE_LAYERS} x {LARGE_UNITS}",
        1e3 * found["large: ours, seconds"], "a loop over pairs",
        1e3 * found["large: loop, seconds"], unit="ms", wanted="1/20",
    )  # fmt: skip
    console.print(
        f"added to one token at {SHARE:.0%} of {LARGE_LAYERS} x {LARGE_UNITS}: ours "
        f"{found['large: ours, seconds'] * 1e3:.2f} ms, a loop over pairs "
        f"{found['large: loop, seconds'] * 1e3:.0f} ms, {found['large: loop / ours']:.0f} x "
        "slower (wanted: 20)"
    )
