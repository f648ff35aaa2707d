"""How long the package takes to import and the command line to say something."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from rich.console import Console

COMMANDS = {
    "import langneurons (wanted 0.4 s)": ["-c", "import langneurons"],
    "langneurons --help (wanted 0.5 s)": ["-m", "langneurons", "--help"],
}
RUNS = 7


def run(console: Console) -> None:
    """Print the median wall time of each, over several runs in turn."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, words in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        console.print(f"{name}: median {statistics.median(seconds):.2f} s of {RUNS}")
