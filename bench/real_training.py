"""An epoch of XNLI on Gemma 3 270M against PEFT with Trainer: the same inputs, steps and modules.

Needs `make real-models` and a folder of XNLI files (`dev.en.tsv`), named by the variable XNLI;
EXAMPLES (64) and ROUNDS (3) say how long it takes. The ways take turns; times are of the processor,
on one thread, ratios medians over rounds. The model is of Gemma's shape; its weights do not matter
to the time and are drawn at random.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

import langneurons as ln
from bench._ratios import note
from bench.finetuning import BATCH, TRAINER, epochs
from langneurons.data.tasks import get_task
from langneurons.finetuning.examples import encode_items

ON_REQUEST = True
MODEL = Path(__file__).resolve().parents[1] / "real-models" / "gemma-3-270m-q4_k_m.gguf"
EXAMPLES = int(os.environ.get("EXAMPLES", "64"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))


def run(console: Any) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    lm = ln.load(os.environ.get("MODEL", MODEL), dtype="float32", device="cpu")
    task = get_task(f"xnli:{os.environ['XNLI']}")
    read = task.examples("en", split="dev", limit=EXAMPLES)
    items = encode_items(task, read, lm.tokenizer, max_length=128, pad=0)
    lengths = sorted(len(item.ids) for item in items)
    console.print(
        f"an epoch of {len(items)} examples of {lengths[0]} to {lengths[-1]} tokens (median "
        f"{lengths[len(lengths) // 2]}), batch {BATCH}, {ROUNDS} rounds, against {TRAINER}:"
    )
    for name, (seconds, ratio) in epochs(lm, items, ROUNDS).items():
        console.print(f"  {name:<28} {ratio:.2f} x   {seconds:.1f} s")
        if "LoRA" in name:
            what = f"an epoch of XNLI on Gemma 3 270M, {name}"
            note(what, seconds, TRAINER, seconds / ratio, wanted="0.8")
