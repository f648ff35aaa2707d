"""In which language questions are answered while neurons are overwritten."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.reporting.figures.dots import dots
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import with_interval
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables import Column, Table
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """F1 against the answers of either language, and the scripts of the answers."""
    table, given = run.table("answers"), run.table("answers_given")
    if table is None:
        return
    panels = []
    for (adapter, lang), group in table.groupby(["adapter", "language"], sort=False):
        right = group[group["metric"].isin(["f1", *_other(group)])]
        lines = right.assign(line=right["value"] + " " + right["units"].where(
            right["units"] != "-", ""))  # fmt: skip
        picture = Picture(
            f"answers_{slug(str(adapter))}_{slug(str(lang))}",
            f"{lang}, adapter {adapter}: F1 against the language's own answers (f1) and against "
            "those of the training language to the same questions, in %, by the value written.",
            dots(lines, "line", "metric", ("level", "level_low", "level_high"), "F1, %"),
        )
        panels.append((f"{adapter}, {lang}", [picture]))
    blocks: list[Block] = [Tabs("answers", panels), _changes(table)]
    if given is not None:
        blocks.append(plain(given, "answers_given", "Answers given", "To the first questions."))
    title = "In which language are questions answered?"
    yield Section("answers", title, list(sentences(table)), blocks)


def _other(group: pd.DataFrame) -> list[str]:
    """F1 against the training language's answers."""
    names = [str(name) for name in group["metric"].unique()]
    return [
        name for name in names if name.startswith("f1_") and name not in ("f1_either", "f1_ids")
    ]


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """Whether own neurons at a value move right answers from one language to the other.

    Args:
        table: The ``answers`` table.
    """
    own = table[table["units"] == "own"]
    cell = ["adapter", "language", "neurons", "value"]
    for (adapter, lang, neurons, value), group in own.groupby(cell, sort=False):
        by = {str(row["metric"]): row for row in group.to_dict("records")}
        other = next(iter(_other(group)), None)
        if other is None or "f1" not in by:
            continue
        here, there = by["f1"], by[other]
        text = (
            f"{neurons}, {lang}, {value} ({adapter}): F1 "
            f"{with_interval(here['difference'], here['low'], here['high'], 1, signed=True)} "
            f"points against {lang}'s answers, "
            f"{with_interval(there['difference'], there['low'], there['high'], 1, signed=True)} "
            f"against {other.removeprefix('f1_')}'s."
        )
        moved = here["high"] < 0 and there["low"] > 0
        yield Sentence(text, "finding" if moved else "none")


def _changes(table: pd.DataFrame) -> Table:
    return Table(
        "answers",
        "Every value",
        "Level in % and change in points against no intervention, paired, intervals over groups; "
        "f1_LANG: against that language's answers; f1_either: the better; latin and own_script: "
        "share of answers in Latin letters and in the language's own script.",
        table,
        [
            *(Column(key, key) for key in ("task", "adapter", "language", "value", "units")),
            Column("neurons", "set"),
            Column("seed", "draw", "count"),
            Column("metric", "metric"),
            Column("n", "n", "count"),
            Column("level", "level, %", "number", 1, ("level_low", "level_high")),
            Column("difference", "points", "number", 1, ("low", "high"), True),
            Column("p_holm", "p, Holm", "p"),
        ],
    )
