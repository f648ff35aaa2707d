"""Time of training: of a step in three ways, and of an epoch against PEFT with Trainer.

A step: row-sparse LoRA, plain LoRA, and a dense masked change. The same model, batch, rank and
modules for all; one step of each in turn, so that a change of the machine's load meets all alike.
Ratios are medians over rounds of the time against plain LoRA in the same round. On a CPU the time
is that of the process, on one thread.

An epoch: the same random examples (lengths as XNLI's), batch size, rank, modules, optimiser and
number of steps; the Trainer shuffles and pads each batch to its longest example, as it does unless
told otherwise, and once more grouped by length (`train_sampling_strategy`).
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, LlamaConfig

from bench._ratios import note
from langneurons.finetuning.description import Purpose
from langneurons.finetuning.examples import Item, collate
from langneurons.finetuning.loss import accepted, loss_sum
from langneurons.finetuning.recipe import Recipe
from langneurons.finetuning.rows import ADAPTER, lora_layers
from langneurons.finetuning.run import build_trainable
from langneurons.finetuning.targets import choose
from langneurons.finetuning.training import Data, train
from langneurons.identification import Units
from langneurons.models import LanguageModel, wrap

SHARE = 0.01
BATCH, LENGTH, ROUNDS = 8, 96, 7
EXAMPLES = 256
TRAINER = "PEFT and Trainer"


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


PURPOSE = Purpose("classification", ("a", "b", "c"), pad=0)


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
    width, depth = lm.sites["mlp.act"].width, lm.layers
    generator = torch.Generator().manual_seed(0)
    chosen = [
        torch.randperm(width, generator=generator)[: int(SHARE * width)] for _ in range(depth)
    ]
    units = Units.from_layers(chosen)
    recipe = Recipe(rank=rank, alpha=2.0 * rank)
    found: dict[str, nn.Module] = {
        "plain LoRA": build_trainable(lm, PURPOSE, choose(lm, "all"), recipe),
        "row-sparse LoRA": build_trainable(lm, PURPOSE, choose(lm, units), recipe),
    }
    dense = build_trainable(lm, PURPOSE, choose(lm, "all"), recipe)
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
        loss = loss_sum(net, batch, names)
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


def examples(count: int = EXAMPLES) -> list[Item]:
    """Random inputs from a dozen tokens to two hundred, half of them within 30 to 55, as XNLI's."""
    generator = torch.Generator().manual_seed(2)
    lengths = (0.4 * torch.randn(count, generator=generator) + 3.7).exp().clamp(12, 200).int()
    return [
        Item(torch.randint(1, 2048, (n,), generator=generator).tolist(), number % 3)
        for number, n in enumerate(lengths.tolist())
    ]


def with_langneurons(lm: LanguageModel, items: list[Item], units: Any) -> float:
    """CPU seconds of an epoch of this package."""
    recipe = Recipe(rank=8, alpha=16, batch_size=BATCH, epochs=1, dtype="fp32")
    net = build_trainable(lm, PURPOSE, choose(lm, units), recipe)
    with tempfile.TemporaryDirectory() as folder:
        return _timed(
            lambda: train(
                net, Data(items, [], "classification", 0), recipe,
                checkpoint=Path(folder) / "state", key="bench",
            ),
            lm.device,
        )  # fmt: skip


def with_trainer(lm: LanguageModel, items: list[Item], sampling: str) -> float:
    """CPU seconds of an epoch of PEFT's LoRA on the same modules under Transformers' Trainer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

    config = copy.deepcopy(lm.config)
    config.num_labels = 3
    torch.manual_seed(0)
    net = get_peft_model(
        AutoModelForSequenceClassification.from_config(config).to(lm.device),
        LoraConfig(
            task_type="SEQ_CLS", r=8, lora_alpha=16, modules_to_save=["score"],
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj"],
        ),
    )  # fmt: skip
    rows = [{"input_ids": item.ids, "labels": item.label} for item in items]

    def padded(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        made = collate(
            [Item(row["input_ids"], row["labels"]) for row in batch], kind="classification", pad=0
        )
        return {
            "input_ids": made.input_ids,
            "attention_mask": made.attention_mask,
            "labels": made.labels,
        }

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            net,
            TrainingArguments(
                folder, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=5e-4,
                save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
                use_cpu=lm.device.type == "cpu", train_sampling_strategy=sampling,
            ),
            data_collator=padded,
            train_dataset=rows,
        )  # fmt: skip
        return _timed(trainer.train, lm.device)


def epochs(lm: LanguageModel, items: list[Item], rounds: int = 3) -> dict[str, tuple[float, float]]:
    """Time of an epoch, and against PEFT with Trainer in the same round; medians."""
    width = lm.sites["mlp.act"].width
    one_percent = Units.from_layers([range(int(SHARE * width))] * lm.layers)
    ways: dict[str, Callable[[], float]] = {
        TRAINER: lambda: with_trainer(lm, items, "random"),
        "the same, grouped by length": lambda: with_trainer(lm, items, "group_by_length"),
        "plain LoRA": lambda: with_langneurons(lm, items, "all"),
        "row-sparse LoRA": lambda: with_langneurons(lm, items, one_percent),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
    return {
        name: (
            statistics.median(found),
            statistics.median(a / b for a, b in zip(found, times[TRAINER], strict=True)),
        )
        for name, found in times.items()
    }


def run(console: Any) -> None:
    """Measure and print."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows, found = measure(), epochs(model(), examples())
    finally:
        torch.set_num_threads(threads)
    console.print(
        f"training step, {SHARE:.0%} of the rows, batch {BATCH} x {LENGTH} tokens, fp32, "
        f"{rows[0]['seconds'] * 1e3:.0f} ms with plain LoRA"
    )
    ours = next(row for row in rows if row["name"] == "row-sparse LoRA")
    for row in rows:
        if row is not ours:
            peer = f"{row['name']}, {'PEFT' if 'plain' in row['name'] else 'released code'}"
            note("a training step, 1 % of the rows", ours["seconds"], peer, row["seconds"])
        console.print(
            f"  {row['name']:<20} {row['ratio']:.2f} x   {row['trained']:>9,} trained weights   "
            f"{row['state'] / 1e6:.2f} MB optimiser state"
        )
    console.print(
        f"an epoch of {EXAMPLES} examples of 12 to 200 tokens, batch {BATCH}, against {TRAINER}:"
    )
    for name, (seconds, ratio) in found.items():
        if "LoRA" in name:
            peer = found[TRAINER][0]
            note(f"an epoch of fine-tuning, {name}", seconds, TRAINER, peer, wanted="0.8")
        console.print(f"  {name:<28} {ratio:.2f} x" + (" (wanted: 0.8)" if "LoRA" in name else ""))
