"""The table of all ratios: what was measured, ours, the peer's figure beside it."""

from __future__ import annotations

import datetime
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from langneurons import threads
from langneurons.artifacts import write_text
from langneurons.provenance.environment import describe

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Ratio:
    """One measurement.

    Attributes:
        what: What was done.
        ours: This package's figure.
        peer: What it is held against; "" where it is held against a wish alone.
        theirs: The peer's figure.
        unit: Unit of both.
        wanted: What ours / theirs (or ours, where there is no peer) should be.
    """

    what: str
    ours: float
    peer: str
    theirs: float | None
    unit: str
    wanted: str

    def row(self) -> list[str]:
        """Cells of the table."""
        ratio = "" if self.theirs is None else f"{self.ours / self.theirs:.3g}"
        theirs = "" if self.theirs is None else _figure(self.theirs, self.unit)
        return [self.what, _figure(self.ours, self.unit), self.peer, theirs, ratio, self.wanted]


COLUMNS = ["what", "ours", "peer", "the peer's", "ours / the peer's", "wanted"]
_found: list[Ratio] = []


def note(
    what: str,
    ours: float,
    peer: str = "",
    theirs: float | None = None,
    *,
    unit: str = "s",
    wanted: str = "",
) -> None:
    """Take a measurement into the table; see :class:`Ratio`."""
    _found.append(Ratio(what, ours, peer, theirs, unit, wanted))


def _figure(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".strip()


def write(folder: Path = RESULTS) -> Path | None:
    """Write what was noted as a table, with the machine; None where nothing was.

    Rows that a table of the same day and commit has already stay, so that a stopped `make bench`
    can go on with the benchmarks that are missing.
    """
    if not _found:
        return None
    machine, day = describe(), f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    head = (
        f"{machine['processor']}, {threads.cores()} cores, {machine['device']}, "
        f"{platform.system()}, PyTorch {torch.__version__}, commit {machine['commit']}, {day}. "
        "`python -m bench`; one thread, CPU time of the process, medians of interleaved rounds "
        "where not said otherwise."
    )
    path = folder / f"ratios-{day}.md"
    rows = {found.what: "| " + " | ".join(found.row()) + " |" for found in _found}
    rows = {**_before(path, head), **rows}
    titles = ("| " + " | ".join(row) + " |" for row in (COLUMNS, ["---"] * len(COLUMNS)))
    write_text(path, "\n".join([head, "", *titles, *rows.values(), ""]))
    return path


def _before(path: Path, head: str) -> dict[str, str]:
    """Rows of an earlier table under the same head, by what was done."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else [""]
    if lines[0] != head:
        return {}
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[4:] if line}
