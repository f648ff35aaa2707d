"""Time of a training step: row-sparse LoRA against plain LoRA and against a dense masked change.

The same model, batch, rank and modules for all; one step of each in turn, so that a change of the
machine's load meets all alike. Ratios are medians over rounds of the time against plain LoRA in
the same round. On a CPU the time is that of the process, on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, LlamaConfig

from langneurons.finetuning.examples import Item, collate
from langneurons.finetuning.loss import accepted, loss_sum
from langneurons.finetuning.recipe import Recipe
from langneurons.finetuning.rows import ADAPTER, lora_layers
from langneurons.finetuning.run import build_trainable
from langneurons.finetuning.targets import choose
from langneurons.identification import Units
from langneurons.models import LanguageModel, wrap

SHARE = 0.01
BATCH, LENGTH, ROUNDS = 8, 96, 7


class DenseMasked(nn.Module):
    """``W + M * (B A)`` formed as a whole matrix in every step, as the released code does."""

    def __init__(self, layer: Any, rows: torch.Tensor) -> None:
        super().__init__()
        self.base = layer.get_base_layer()
        inputs, outputs = self.base.in_features, self.base.out_features
        self.a = nn.Parameter(layer.lora_A[ADAPTER].weight.detach().clone())
        self.b = nn.Parameter(torch.zeros(outputs, layer.r[ADAPTER], device=self.a.device))
        mask = torch.zeros(outputs, inputs, device=self.a.device)
        mask[rows.to(mask.device)] = 1
        self.register_buffer("mask", mask)
        self.scaling = layer.scaling[ADAPTER]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = self.mask * (self.b @ self.a) * self.scaling
        return self.base(x) + F.linear(x, change.to(x.dtype))


def model(hidden: int = 384, layers: int = 4, units: int = 1536) -> LanguageModel:
    """A random Llama of a shape common in small models."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=units,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=6,
        vocab_size=2048,
        pad_token_id=0,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return wrap(AutoModelForCausalLM.from_config(config).to(device), _NoTokenizer(), "bench")


class _NoTokenizer:
    pad_token_id, eos_token_id = 0, 0
    all_special_ids = (0,)


def contestants(lm: LanguageModel, rank: int = 8) -> dict[str, nn.Module]:
    """Trainable models by name, on the same modules."""
    info = {"kind": "classification", "labels": ["a", "b", "c"], "pad": 0}
    width, depth = lm.sites["mlp.act"].width, lm.layers
    generator = torch.Generator().manual_seed(0)
    chosen = [
        torch.randperm(width, generator=generator)[: int(SHARE * width)] for _ in range(depth)
    ]
    units = Units.from_layers(chosen)
    recipe = Recipe(rank=rank, alpha=2.0 * rank)
    found: dict[str, nn.Module] = {
        "plain LoRA": build_trainable(lm, info, choose(lm, "all"), recipe),
        "row-sparse LoRA": build_trainable(lm, info, choose(lm, units), recipe),
    }
    dense = build_trainable(lm, info, choose(lm, "all"), recipe)
    base = dense.get_base_model()
    for name, layer in list(lora_layers(dense)):
        if name.endswith("gate_proj"):
            parent, _, child = name.rpartition(".")
            number = int(name.split("layers.")[1].split(".")[0])
            setattr(base.get_submodule(parent), child, DenseMasked(layer, chosen[number]))
    found["dense masked change"] = dense
    return found


def stepper(net: nn.Module, batch: Any) -> tuple[Callable[[], None], int, int]:
    """One training step; the number of trained weights; bytes of optimiser state."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    names = accepted(net)
    net.train()

    def step() -> None:
        loss, _ = loss_sum(net, batch, names)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    count = sum(p.numel() for p in parameters)
    return step, count, 2 * 4 * count


def measure(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """One row a contestant: seconds a step, ratio to plain LoRA, trained weights, state bytes."""
    lm = model()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 2048, (BATCH, LENGTH), generator=generator).tolist()
    items = [Item(row, i % 3) for i, row in enumerate(ids)]
    batch = collate(items, kind="classification", pad=0).to(lm.device)
    steppers = {name: stepper(net, batch) for name, net in contestants(lm).items()}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for number in range(rounds + 1):
        for name, (step, _, _) in steppers.items():
            seconds = _timed(step, lm.device)
            if number:  # the first round warms up
                times[name].append(seconds)
    plain = times["plain LoRA"]
    return [
        {
            "name": name,
            "seconds": statistics.median(times[name]),
            "ratio": statistics.median(a / b for a, b in zip(times[name], plain, strict=True)),
            "trained": count,
            "state": state,
        }
        for name, (_, count, state) in steppers.items()
    ]


def _timed(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def run(console: Any) -> None:
    """Measure and print."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = measure()
    finally:
        torch.set_num_threads(threads)
    console.print(
        f"training step, {SHARE:.0%} of the rows, batch {BATCH} x {LENGTH} tokens, fp32, "
        f"{rows[0]['seconds'] * 1e3:.0f} ms with plain LoRA"
    )
    for row in rows:
        console.print(
            f"  {row['name']:<20} {row['ratio']:.2f} x   {row['trained']:>9,} trained weights   "
            f"{row['state'] / 1e6:.2f} MB optimiser state"
        )
