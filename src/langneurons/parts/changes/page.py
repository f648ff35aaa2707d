"""Other changes on the tasks: subspaces, features, percentiles and other languages' neurons."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.parts.tasks.comparisons import primary
from langneurons.reporting.aggregate import LEVEL
from langneurons.reporting.figures.dots import dots
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import count
from langneurons.reporting.sections import Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables import Column, Table


def sections(run: Run) -> Iterator[Section]:
    """What else was changed on the tasks, beside random changes."""
    table = run.table("task_changes")
    if table is None:
        return
    table = primary(table)
    panels = []
    for (part, task, lang), group in table.groupby(["part", "task", "language"], sort=False):
        lines = group.assign(
            line=group["of"].where(group["of"] != "all", "").astype(str) + " " + group["change"]
        )
        panels.append((f"{part}, {task}, {lang}", [Picture(
            f"changes_{slug(str(part))}_{slug(str(task))}_{slug(str(lang))}",
            f"{part}, {task}, {lang}: change in points against the model unchanged, own and "
            "random changes (a dot a draw and training, with 95 % interval).",
            dots(lines, "line", "units", ("difference", "low", "high"), "points", reference=0),
        )]))  # fmt: skip
    yield Section(
        "changes",
        "Other changes on the tasks",
        list(sentences(table)),
        [Tabs("changes", panels), _table(table)],
    )


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """How many changes are carried, and how many lie beyond every random one.

    Args:
        table: Rows of the ``task_changes`` table with each task's first metric.
    """
    cell = ["part", "task", "adapter", "language", "change"]
    for part, group in table.groupby("part", sort=False):
        own = group[group["units"] == "own"]
        beyond = (own["low"] > 0) | (own["high"] < 0)
        found = own[beyond & (own["p_holm"] < LEVEL)]
        control = group[group["units"] != "own"].groupby(cell)["difference"].agg(["min", "max"])
        joined = found.join(control, on=cell)
        past = (joined["difference"] < joined["min"]) | (joined["difference"] > joined["max"])
        text = (
            f"{part}: of {count(len(own), 'change')} that are not random {len(found)} have an "
            f"effect after Holm's correction, {int(past.sum())} beyond every random draw of the "
            "same change."
        )
        yield Sentence(text, "finding" if past.any() else "none")


def _table(table: pd.DataFrame) -> Table:
    return Table(
        "task_changes",
        "Every change",
        "Change in points against the model unchanged on the same examples, with interval; "
        "answers: examples whose answer changed; large: random, and as large a change.",
        table,
        [
            *(Column(key, key) for key in ("part", "task", "adapter", "language", "change")),
            Column("units", "own or control"),
            Column("of", "of"),
            Column("seed", "draw", "count"),
            Column("n", "n", "count"),
            Column("difference", "points", "number", 1, ("low", "high"), True),
            Column("p_holm", "p, Holm", "p"),
            Column("mde", "detectable", "number", 1),
            Column("answers", "answers changed", "count"),
        ],
    )
