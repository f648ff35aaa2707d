"""A few hundred steps of English XNLI on SmolLM2 135M: killed once, continued, its loss curve.

Needs `make real-models` and a folder of XNLI files (`dev.en.tsv`, `test.en.tsv`), named by the
variable XNLI. Of the MLP 1 % of the units learn, drawn at random; the run is what is shown here,
not the choice of units. Writes `docs/figures/smollm2-xnli-loss.svg`.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import langneurons as ln
from langneurons.artifacts import read_tensors, write_text
from langneurons.finetuning import Adapter, Recipe, trainable_parameters
from langneurons.finetuning.adapter import CHECKPOINT
from langneurons.identification import Units
from langneurons.models import LanguageModel
from langneurons.reporting import style
from langneurons.reporting.figures import canvas

ON_REQUEST = True
ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "real-models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
FIGURE = ROOT / "docs" / "figures" / "smollm2-xnli-loss.svg"
STEPS, KILL_AFTER, EVERY, MEAN_OF = 300, 100, 25, 20
RECIPE = Recipe(
    steps=STEPS, batch_size=8, max_length=96, rank=16, alpha=32, learning_rate=3e-4,
    split="dev+test[:50%]", evaluate_every=100, evaluation_split="test[50%:]",
    evaluation_limit=200, checkpoint_every=EVERY,
)  # fmt: skip


def units(lm: LanguageModel) -> Units:
    """1 % of the units of every layer, drawn at random by one seed."""
    generator = torch.Generator().manual_seed(0)
    width = lm.sites["mlp.act"].width
    return Units.from_layers(
        [torch.randperm(width, generator=generator)[: width // 100] for _ in range(lm.layers)]
    )


def train(data: str, output: str) -> None:
    """What the process does that is killed, and then the one that goes on."""
    torch.set_num_threads(1)
    lm = ln.load(MODEL, device="cpu")
    ln.finetune(lm, f"xnli:{data}", "en", units(lm), output=output, recipe=RECIPE)


def killed_and_continued(data: Path, output: Path) -> int:
    """Train in processes of their own; the first is killed.

    Returns:
        The step whose checkpoint the second went on from.
    """
    command = [sys.executable, "-m", "bench.real_finetuning", str(data), str(output)]
    checkpoint = output / CHECKPOINT
    first = subprocess.Popen(command, cwd=ROOT)
    step = 0
    while first.poll() is None and step < KILL_AFTER:
        time.sleep(0.5)
        if checkpoint.is_file():
            step = int(read_tensors(checkpoint)[1]["step"])
    first.send_signal(signal.SIGKILL)
    first.wait()
    subprocess.run(command, cwd=ROOT, check=True)
    return step


def draw(adapter: Adapter, continued: int) -> None:
    """The loss of every step, its running mean, and the looks at held-out examples."""
    losses = np.array(adapter.losses)
    means = np.convolve(losses, np.ones(MEAN_OF) / MEAN_OF, mode="valid")
    with style.figure_style("smollm2-xnli-loss"):
        figure = canvas.blank(2.8)
        figure.set_facecolor("white")  # readable on a dark page
        axes = figure.subplots()
        axes.plot(range(1, len(losses) + 1), losses, ".", ms=3, color=style.GREY, label="a step")
        axes.plot(range(MEAN_OF, len(losses) + 1), means, color=style.BLUE,
                  label=f"mean of {MEAN_OF} steps")  # fmt: skip
        looks = adapter.info["evaluations"]
        axes.plot([row["step"] for row in looks], [row["loss"] for row in looks], "s", ms=5,
                  color=style.VERMILLION, label="held-out examples")  # fmt: skip
        axes.axvline(continued, color=style.INK, lw=0.7, ls=":", label="killed and continued")
        axes.axhline(np.log(3), color=style.INK, lw=0.7, label="guessing")
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats an example")
        figure.legend(loc="outside upper center", ncols=5, columnspacing=1, handlelength=1.5)
        write_text(FIGURE, canvas.titled(canvas.svg(figure, FIGURE.stem)))


def run(console: Any) -> None:
    """Train, print, draw."""
    data = Path(os.environ.get("XNLI", ROOT / "xnli"))
    if not MODEL.is_file() or not (data / "dev.en.tsv").is_file():
        console.print(f"needs `make real-models` and XNLI's files in {str(data)!r} (variable XNLI)")
        return
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "adapter"
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        continued = killed_and_continued(data, output)
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        adapter = Adapter.load(output)
    lm = ln.load(MODEL, device="cpu")
    everything = trainable_parameters(lm, "all", RECIPE, labels=3)
    info = adapter.info
    console.print(
        f"SmolLM2 135M, English XNLI, {info['examples']:,} examples, batch {RECIPE.batch_size}, "
        f"{info['dtype']}, one thread, killed and continued after step {continued}"
    )
    console.print(
        f"  trained weights {adapter.trainable:,} of {everything:,} with every unit; "
        f"{seconds / info['steps']:.2f} s of processor time a step, model loaded twice and "
        "evaluations included"
    )
    for start in range(0, info["steps"], 50):
        part = adapter.losses[start : start + 50]
        console.print(f"  steps {start + 1:>3} to {start + len(part):>3}: loss {np.mean(part):.3f}")
    for row in info["evaluations"]:
        console.print(
            f"  held out after step {row['step']:>3.0f}: loss {row['loss']:.3f}, accuracy "
            f"{row['accuracy']:.1f} % (n = {RECIPE.evaluation_limit}; guessing 33.3)"
        )
    draw(adapter, continued)


if __name__ == "__main__":
    train(*sys.argv[1:])
