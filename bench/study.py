"""The whole study on the built-in world: time and peak memory of `langneurons run`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench._ratios import note

TARGETS = {"full": (480, 3.0), "small": (120, 3.0)}
"""Seconds and gigabytes wanted on two cores, by budget."""


def once(budget: str) -> tuple[float, float, int]:
    """Run the study in a process of its own: seconds, peak gigabytes, exit code."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "langneurons", "run", "mini", "-s", f"budget={budget}"]
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *words, "-o", str(Path(folder) / "run")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    return seconds, usage.ru_maxrss / 1e6, os.waitstatus_to_exitcode(status)


def run(console: Console) -> None:
    """Print both budgets beside what is wanted of them."""
    for budget, (most_seconds, most_memory) in TARGETS.items():
        seconds, memory, code = once(budget)
        note(f"langneurons run mini, {budget}, by the clock", seconds, wanted=f"{most_seconds} s")
        console.print(
            f"langneurons run mini -s budget={budget}: {seconds:.0f} s (wanted {most_seconds}), "
            f"peak {memory:.2f} GB (wanted {most_memory}), exit code {code}"
        )
