"""The table of docs/scale.md: what large studies take, by the arithmetic of a dry run.

    python scripts/scale.py [--tflops 790] [--gpu-memory 80]

The rate is that of a bare bf16 matrix product; a whole forward pass is reckoned at the share of it
that `langneurons.study.expectation.UTILISATION` says.
"""

from __future__ import annotations

import argparse
import math

from langneurons.config import loading
from langneurons.config.schema import StudyConfig
from langneurons.study.expectation import UTILISATION, expect, human_bytes
from langneurons.study.plan import Identity, plan

LLAMA_8B = {"parameters": 8.03e9, "layers": 32, "units": 14336, "hidden": 4096}
LLAMA_70B = {"parameters": 70.6e9, "layers": 80, "units": 28672, "hidden": 8192}
PARTS = {
    "statistics": ("statistics", "shard"),
    "perplexity": ("perplexity", "sweep", "effects"),
    "training": ("finetune",),
    "cells": ("scores",),
}


def hundred_languages() -> StudyConfig:
    """LAPE and activation probability in a hundred languages, the whole matrix, no task."""
    codes = [f"l{number:02d}" for number in range(100)]
    changes = {
        **{"model": "meta-llama/Llama-3.1-8B", "size": LLAMA_8B, "languages": codes},
        **{"dtype": "bfloat16", "text": "text/{lang}.txt", "name": "hundred-languages"},
    }
    tokens = ["statistics.tokens=10000000", "statistics.rows=8192", "perplexity.tokens=20000"]
    return loading.load("text", tokens, changes)


def studies() -> dict[str, StudyConfig]:
    """The studies reckoned, by name."""
    paper = loading.load("paper-llama-3.1-8b")
    large = loading.load("paper-llama-3.1-8b", (), {"size": LLAMA_70B, "device": "balanced"})
    first = loading.load("llama-2-7b", (), {"size": LLAMA_8B})
    return {
        "one model, seven languages (as `llama-2-7b`), 8B": first,
        "`paper-llama-3.1-8b`": paper,
        "the same on Llama 3.1 70B": large,
        "100 languages on 8B, no task": hundred_languages(),
    }


def row(name: str, config: StudyConfig, tflops: float, gpu: float) -> list[str]:
    """One line of the table."""
    texts = dict.fromkeys(config.languages, "t")
    laid = plan(config, Identity("m", texts, texts, dict.fromkeys(config.tasks, "x")))
    whole = expect(config, laid, laid.stages, flops=tflops * 1e12)
    assert whole.memory is not None
    assert whole.disk is not None
    tokens = {
        part: sum(stage.cost for stage in laid.stages if stage.kind in kinds) / 1e6
        for part, kinds in PARTS.items()
    }
    hours = sum(whole.seconds.values()) / 3600
    needed = max(1, math.ceil(whole.memory / (0.9 * gpu * 1e9)))
    return [
        name,
        *(f"{tokens[part]:.2f}" for part in PARTS),
        f"{whole.tokens / 1e9:.2f}",
        f"{hours:,.0f}",
        f"{human_bytes(whole.memory)} ({needed} GPU{'s' if needed > 1 else ''})",
        human_bytes(whole.disk),
        f"{len(laid.stages):,}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tflops", type=float, default=790, help="Matrix rate of one GPU, bf16.")
    parser.add_argument("--gpu-memory", type=float, default=80, help="GB of one GPU.")
    given = parser.parse_args()
    print(f"{given.tflops:g} TFLOP/s a GPU, {UTILISATION:.0%} of it reached; G tokens:\n")
    head = ["study", *PARTS, "all", "GPU hours", "memory of a process", "disk", "stages"]
    print("| " + " | ".join(head) + " |")
    print("| --- " + "| ---: " * (len(head) - 1) + "|")
    for name, config in studies().items():
        print("| " + " | ".join(row(name, config, given.tflops, given.gpu_memory)) + " |")


if __name__ == "__main__":
    main()
