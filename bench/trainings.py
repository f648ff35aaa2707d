"""The trainings of "What survives" side by side: the task under zero and the mean of LAPE's units.

``python -m bench.trainings`` reads the records of bench/results, prints each training's change in
Hindi and Chinese with its mean and t interval over trainings, and draws
`docs/figures/gemma-trainings.svg`. Left out: the head on padding, SmolLM2, and a training that
repeats another's seed in another dtype, which is no second one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scipy.stats import ttest_1samp

from bench._markdown import printed
from langneurons.artifacts import write_text
from langneurons.evaluation import holm
from langneurons.evaluation.seeds import spread
from langneurons.reporting import style
from langneurons.reporting.figures import canvas

RESULTS = Path(__file__).resolve().parent / "results"
FIGURE = RESULTS.parents[1] / "docs" / "figures" / "gemma-trainings.svg"
VALUES, KINDS = ("zero", "mean"), ("own", "matched", "random")
LANGUAGES = {"hi": "Hindi", "zh": "Chinese"}
SUMMARY = ["language", "value", "own, mean over trainings [t interval]",
           "equally active, mean of draws", "own less equally active", "p", "p, Holm"]  # fmt: skip
CHANGE = re.compile(r"([+-]\d+\.\d) \[([+-]\d+\.\d), ([+-]\d+\.\d)\]")


class Cell(NamedTuple):
    """One change of accuracy in points, ``low`` and ``high`` its interval over items."""

    training: str
    language: str
    value: str
    kind: str
    change: float
    low: float
    high: float


def changes(text: str, training: str, language: str, value: str, kind: str) -> Iterator[Cell]:
    """Every change written in a text, all of one training, language, value and kind."""
    for found in CHANGE.findall(text):
        yield Cell(training, language, value, kind, *map(float, found))


def parts(line: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def of_task(text: str, names: dict[str, str]) -> Iterator[Cell]:
    """From a record of ``bench.real_task``; ``names``: adapter to training."""
    for row in map(parts, text.splitlines()):
        if len(row) > 8 and row[4] == "lape" and row[5] in VALUES:
            for kind, found in zip(KINDS, row[6:9], strict=True):
                yield from changes(found, names[row[1]], row[3], row[5], kind)


def of_puzzle(text: str, name: str) -> Iterator[Cell]:
    """From a record of ``bench.real_puzzle``: written where it was taken."""
    language, right_site = "", False
    for line in text.splitlines():
        if found := re.match(r"xnli, \w+, (\w+): untouched", line):
            language = found[1]
        row = parts(line)
        if row[0] == "value":
            right_site = row[2:3] == ["behind, behind"]
        elif right_site and row[0] in VALUES:
            yield from changes(row[2], name, language, row[0], row[1].split()[0])


def of_last_token(text: str, names: list[str]) -> Iterator[Cell]:
    """From a record of ``bench.real_last_token``; ``names``: the trainings in their order."""
    for row in map(parts, text.splitlines()):
        if row[0] in LANGUAGES and row[1] in VALUES:
            for name, found in zip(names, row[3 : 3 + len(names)], strict=True):
                yield from changes(found, name, row[0], row[1], row[2])


def of_departures(text: str, name: str) -> Iterator[Cell]:
    """From the record of the audit's training, whose table is a data frame's."""
    for row in map(str.split, text.splitlines()):
        if row[:1] == ["xnli"] and row[2] in VALUES:
            yield Cell(name, row[1], row[2], row[3], *map(float, row[9:12]))


def read() -> pd.DataFrame:
    """One row a change, in the order of the page."""

    def record(name: str) -> str:
        return (RESULTS / f"{name}.txt").read_text(encoding="utf-8")

    attention = [f"attention alone, seed {seed}" for seed in range(3)]
    all_units = {f"all{end}": f"all MLP units, short, seed {seed}"
             for seed, end in enumerate(("", "-1", "-2"))}  # fmt: skip
    found = pd.DataFrame([
        *of_puzzle(record("puzzle-2026-11-25"), "whole, seed 0"),
        *of_task(record("xnli-seed-1-2026-11-29"), {"all-1": "whole, seed 1"}),
        *of_last_token(record("last-token-2026-11-25"), attention),
        *of_task(record("methods-seeds-2026-11-29"), all_units),
        *of_departures(record("departures-2026-11-25"), "the audit's, 120 steps"),
    ])  # fmt: skip
    return found.sort_values("value", key=lambda names: names.map(VALUES.index), kind="stable")


def shown(cells: pd.DataFrame) -> str:
    """Changes with their intervals over items, one a draw."""
    return "; ".join(f"{c.change:+.1f} [{c.low:+.1f}, {c.high:+.1f}]" for c in cells.itertuples())


def over(values: pd.Series) -> str:
    """Mean of one number a training, with its t interval and how many there are."""
    found = spread(values)
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}], {found.seeds} trainings"


def summary(table: pd.DataFrame) -> list[list[str]]:
    """One row a language and value: own units, equally active ones, and one against the other.

    A training counts once: its draws of equally active units are averaged.
    """
    rows, tests = [], []
    for language in LANGUAGES:
        for value in VALUES:
            cells = table[(table["language"] == language) & (table["value"] == value)]
            by_kind = cells.pivot_table("change", "training", "kind", aggfunc="mean")
            apart = by_kind["own"] - by_kind["matched"]
            tests.append(float(ttest_1samp(apart, 0).pvalue))
            rows.append([language, value, *map(over, (by_kind["own"], by_kind["matched"], apart))])
    adjusted = zip(tests, holm(tests), strict=True)
    return [[*row, f"{p:.2g}", f"{q:.2g}"] for row, (p, q) in zip(rows, adjusted, strict=True)]


def draw(table: pd.DataFrame) -> None:
    """A panel a language and value, a line a training."""
    trainings = list(dict.fromkeys(table["training"]))
    look = {"own": (style.OWN, "o"), "matched": (style.MATCHED, "x"), "random": (style.RANDOM, "|")}
    with style.figure_style("gemma-trainings"):
        figure = canvas.blank(3.6)
        figure.set_facecolor("white")  # readable on a dark page
        grid = figure.subplots(1, 4, sharex=True, sharey=True)
        panels = [(language, value) for language in LANGUAGES for value in VALUES]
        for axes, (language, value) in zip(grid, panels, strict=True):
            cells = table[(table["language"] == language) & (table["value"] == value)]
            for kind, lift in zip(KINDS, (0.0, 0.22, 0.38), strict=True):
                rows = cells[cells["kind"] == kind]
                colour, mark = look[kind]
                heights = [trainings.index(name) + lift for name in rows["training"]]
                ends = None
                if kind == "own":
                    ends = [rows["change"] - rows["low"], rows["high"] - rows["change"]]
                axes.errorbar(rows["change"], heights, xerr=ends, fmt=mark, ms=4.5, lw=0.9,
                              color=colour, label=style.LABELS[kind])  # fmt: skip
            found = spread(cells[cells["kind"] == "own"]["change"])
            half = found.high - found.mean
            axes.errorbar([found.mean], [len(trainings) + 0.2], xerr=half, fmt="D", ms=5, lw=1.6,
                          color=style.INK, label="mean of trainings, t interval")  # fmt: skip
            axes.axvline(0, color=style.INK, lw=0.7)
            axes.set_title(f"{LANGUAGES[language]}, {value}")
        grid[0].set_yticks([*range(len(trainings)), len(trainings) + 0.2], [*trainings, "mean"])
        grid[0].invert_yaxis()
        figure.supxlabel("XNLI accuracy, change in points against no intervention", fontsize=9)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, columnspacing=1,
                      handlelength=1.2)  # fmt: skip
        write_text(FIGURE, canvas.titled(canvas.svg(figure, FIGURE.stem)))


def main() -> None:
    table = read()
    names = ["language", "value", "training"]
    printed([*names, "own", "equally active", "random"], (
        [*key, *(shown(group[group["kind"] == kind]) for kind in KINDS)]
        for key, group in table.groupby(names, sort=False)
    ))  # fmt: skip
    printed(SUMMARY, summary(table))
    draw(table)


if __name__ == "__main__":
    main()
