"""Which language is written when languages are switched off one after another."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.parts.fallback import figures
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import number, with_interval
from langneurons.reporting.sections import Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """Which language is written when languages are switched off one after another."""
    table = run.table("fallback")
    if table is None:
        return
    caption = (
        "Language detected in the continuations of {} prompts with languages switched off one "
        "after another, each time the language written instead, and with as many random units in "
        "their place: share of outputs, and their number."
    )
    panels = [
        (
            str(start),
            [
                Picture(
                    f"fallback_{slug(str(start))}",
                    caption.format(start),
                    figures.fallback(group),
                )
            ],
        )
        for start, group in table.groupby("start", sort=False)
    ]
    title = "Fallback between languages"
    yield Section(
        "part-fallback",
        title,
        list(sentences(table)),
        [Tabs("fallback", panels), plain(table, "fallback", title, caption.format("a language's"))],
    )


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """Which language takes over at each step, beside as many random units.

    Args:
        table: The ``fallback`` table.
    """
    for start, group in table.groupby("start", sort=False):
        own = group[group["kind"] == "own"]
        plain = extreme(own[own["step"] == 0], "share", largest=True)
        steps = [f"untouched {_written(plain)}"]
        left = False
        for step, rows in own[own["step"] > 0].groupby("step", sort=True):
            top = extreme(rows, "share", largest=True)
            said = f"with {top['removed']} off {_written(top)}"
            controls = group[(group["step"] == step) & (group["kind"] != "own")]
            same = controls[controls["language_detected"] == top["language_detected"]]["share"]
            if len(controls):
                most = 100 * float(same.max()) if len(same) else 0.0
                said += f" (controls: at most {number(most, 0)} %)"
                off = str(top["removed"]).split(", ")
                away = top["language_detected"] not in [*off, "unsure"]
                left |= bool(away and 100 * top["low"] > most)
            steps.append(said)
        yield Sentence(
            f"Continuing {start} prompts, the language written most is: {'; '.join(steps)}.",
            "finding" if left else "none",
        )


def _written(row: pd.Series) -> str:
    share = with_interval(100 * row["share"], 100 * row["low"], 100 * row["high"], 0)
    return f"{row['language_detected']} ({share} % of {number(float(row['n']), 0)})"
