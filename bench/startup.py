"""CPU time of commands that compute nothing: what is imported, and whether it is needed."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench._ratios import note
from langneurons.identification import NeuronSet, Units

COMMANDS: dict[str, tuple[float, list[str]]] = {
    "import langneurons": (0.4, ["-c", "import langneurons"]),
    "--help": (0.5, ["-m", "langneurons", "--help"]),
    "presets": (1.0, ["-m", "langneurons", "presets"]),
    "neurons show": (1.0, ["-m", "langneurons", "neurons", "show", "{set}"]),
    "explain": (2.0, ["-m", "langneurons", "explain", "{run}", "neurons/lape"]),
    "doctor": (3.0, ["-m", "langneurons", "doctor"]),
    "run, finished": (3.0, ["-m", "langneurons", "run", "{run}/study.yaml", "-o", "{run}"]),
}
"""Command to the seconds of CPU it may take and its words; those with {run} need a finished run."""
RUNS = 5
RUN = Path("runs/mini")
"""The finished run that `make demo` leaves; without it the commands on a run are left out."""


def cpu(words: list[str]) -> float:
    """CPU seconds of a Python process, its children included."""
    before = os.times()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    after = os.times()
    return (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )


def stands() -> bool:
    """Whether the run is there and was finished by this code; else it would be made here."""
    if not (RUN / "study.yaml").is_file():
        return False
    words = [sys.executable, "-m", "langneurons", "explain", str(RUN)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return "would run" not in said


def run(console: Console) -> None:
    """Print the median CPU time of each, over several runs in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "neurons.json"
        NeuronSet({"en": Units(range(20), range(20))}, (24, 4096)).save(path)
        finished = stands()
        chosen = {
            name: (wanted, [word.format(set=path, run=RUN) for word in words])
            for name, (wanted, words) in COMMANDS.items()
            if finished or not any("{run}" in word for word in words)
        }
        times: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(RUNS):
            for name, (_wanted, words) in chosen.items():
                times[name].append(cpu(words))
    table = Table(box=None)
    table.add_column("command")
    for title in ("CPU s, median", "wanted"):
        table.add_column(title, justify="right")
    for name, seconds in times.items():
        note(f"CPU time of `{name}`", statistics.median(seconds), wanted=f"{chosen[name][0]:.1f} s")
        table.add_row(name, f"{statistics.median(seconds):.2f}", f"{chosen[name][0]:.1f}")
    console.print(table)
    if not finished:
        console.print(
            f"no run in {RUN} that this code has finished (make demo): commands on one are left out"
        )
