"""What two threads of this package get done beside other work: `make bench-busy`.

A forward pass of the built-in model is repeated for a few seconds beside 0, 1, 2 and 4 processes
that do nothing but count. Three ways take turns in every round, so that whatever else the machine
does falls on all of them: one process with as many threads as cores, waiting as langneurons has
them wait, as a single call does; the same with threads that spin (PyTorch's own way); and one
process a core with one thread each, which wait for nobody, as a study does.

Run it on a machine without other work. Sizes: `python -m bench.busy --seconds 5 --rounds 3`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

from rich.console import Console
from rich.table import Table

from bench._ratios import note
from langneurons import threads

BUSY = (0, 1, 2, 4)
SPINS = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}  # what the runtimes do of themselves
CALL, SPINNING, STUDY = "one call", "spinning", "a study"


def worker(seconds: float, count: int) -> None:
    """Say "ready", wait for a line, then print passes per second."""
    import langneurons as ln

    lm = ln.load("mini")
    import torch

    torch.set_num_threads(count)
    text = ln.mini.text("en", tokens=4000)

    def one() -> None:
        ln.perplexity(lm, text, tokens=2000)

    one()
    print("ready", flush=True)
    sys.stdin.readline()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        one()
        done += 1
    print(done / (time.perf_counter() - start), flush=True)


def rate(count: int, processes: int, busy: int, seconds: float, given: dict[str, str]) -> float:
    """Passes per second of some processes together, beside some that are busy."""
    named = {*threads.WAITING, *threads.COUNTS}
    env = {name: value for name, value in os.environ.items() if name not in named} | given
    words = [sys.executable, "-m", "bench.busy", "--worker", str(count), "--seconds", str(seconds)]
    ours = [
        subprocess.Popen(
            words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        )
        for _ in range(processes)
    ]
    for process in ours:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        for process in ours:
            assert process.stdin is not None
            process.stdin.write("\n")
        return sum(float(process.communicate()[0]) for process in ours)
    finally:
        for process in [*others, *ours]:
            process.kill()
            process.wait()


def run(console: Console, seconds: float = 5.0, rounds: int = 3) -> None:
    """Measure and print one row a number of busy processes."""
    cores = threads.cores()
    ways = {CALL: (cores, 1, {}), SPINNING: (cores, 1, SPINS), STUDY: (1, cores, {})}
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for busy in BUSY:
            for name, (count, processes, given) in ways.items():
                found[name, busy].append(rate(count, processes, busy, seconds, given))
    for busy in BUSY:
        for name, what in (
            (CALL, f"{cores} threads, as one call"),
            (STUDY, "a process a core, as a study"),
        ):
            note(
                f"perplexity on {what}, beside {busy} busy processes, by the clock",
                statistics.median(found[name, busy]), "threads that spin, PyTorch's own way",
                statistics.median(found[SPINNING, busy]), unit="passes/s",
                wanted="" if busy else "0.97",
            )  # fmt: skip
    console.print(f"{cores} cores; medians of {rounds} rounds of {seconds:g} s")
    console.print(table(found, cores))
    console.print(
        "Wanted: at least 0.9 of the share beside busy processes, and 0.97 of spinning on an idle "
        "machine."
    )


def table(found: dict[tuple[str, int], list[float]], cores: int) -> Table:
    """Ratios of every round and their medians.

    The fair share of as many threads as cores beside n busy ones is cores / (cores + n) of what
    they do alone.
    """
    shown = Table(box=None)
    shown.add_column("busy")
    for name in (
        "a call's passes/s", "of spinning", "of the fair share", "spinning's",
        "a study's passes/s", "of the fair share",
    ):  # fmt: skip
        shown.add_column(name, justify="right")
    for busy in BUSY:
        part = cores / (cores + busy)

        def share(name: str, busy: int = busy, part: float = part) -> str:
            pairs = zip(found[name, busy], found[name, 0], strict=True)
            return f"{statistics.median(now / alone for now, alone in pairs) / part:.2f}"

        pairs = zip(found[CALL, busy], found[SPINNING, busy], strict=True)
        shown.add_row(
            str(busy), f"{statistics.median(found[CALL, busy]):.2f}",
            f"{statistics.median(ours / theirs for ours, theirs in pairs):.2f}",
            share(CALL), share(SPINNING),
            f"{statistics.median(found[STUDY, busy]):.2f}", share(STUDY),
        )  # fmt: skip
    return shown


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--worker", type=int)
    words.add_argument("--seconds", type=float, default=5.0)
    words.add_argument("--rounds", type=int, default=3)
    given = words.parse_args()
    if given.worker:
        worker(given.seconds, given.worker)
    else:
        run(Console(highlight=False), given.seconds, given.rounds)
