"""Sweeps over the value written, the share of units and the layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from langneurons.parts.sweep import figures
from langneurons.reporting.aggregate import extreme, records
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import listing, with_interval
from langneurons.reporting.sections import Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain

_SWEPT = {
    "value": "the value written over the language's own neurons",
    "share": "the share of all units that the method takes, with the language's own neurons among "
    "them set to {value}",
    "layers": "the layers whose own neurons of the language are set to {value}",
}


def sections(run: Run) -> Iterator[Section]:
    """Perplexity over the value written, the share of units and the layers, a tab a language."""
    table = run.table("sweep")
    if table is None:
        return
    panels = [
        (str(language), list(_swept(group)))
        for language, group in table.groupby("language", sort=False)
    ]
    shown = plain(table, "sweep", "Every point", "Perplexity ratio at every point swept.")
    title = "Sweep of the value written"
    if "axis" in table.columns and set(table["axis"]) > {"value"}:
        title = "Sweep of value, share of units and layers"
    yield Section("sweep", title, sentences(table), [Tabs("sweep", panels), shown])


def _swept(table: pd.DataFrame) -> Iterator[Picture]:
    """A figure for each axis of one language's sweep, and each value along shares and layers."""
    language = str(table["language"].iloc[0])
    table = table if "axis" in table.columns else table.assign(axis="value")
    scored = "score" in table.columns and table["score"].notna().any()
    below = " Below: the task's metric (line: untouched)." if scored else ""
    for axis, group in table.groupby("axis", sort=False):
        parts = [("", group)]
        if axis != "value":
            parts = [(str(value), part) for value, part in group.groupby("value", sort=False)]
        for value, part in parts:
            name = "_".join(
                ["sweep", slug(language), *([str(axis), slug(value)] if axis != "value" else [])]
            )
            yield Picture(
                name,
                f"Perplexity ratio on {language} text against "
                f"{_SWEPT[str(axis)].format(value=value)}, and over draws of "
                "controls; bands: 95 % intervals over documents (draws: mean and envelope)."
                + below,
                figures.sweep(part),
            )


def sentences(table: pd.DataFrame) -> list[Sentence]:
    """What shares of units and bands of layers do; values are left to the figure.

    Args:
        table: The ``sweep`` table.
    """
    said: list[Sentence] = []
    if "axis" not in table.columns:
        return said
    lines = table[table["axis"] != "value"]
    for (language, axis, value), group in lines.groupby(["language", "axis", "value"], sort=False):
        own = group[group["kind"] == "own"]
        beyond = [str(row["point"]) for row in records(own) if _beyond(row, group)]
        n = own["point"].nunique()
        if axis == "share":
            first, last = own.iloc[0], own.iloc[-1]
            text = (
                f"{language}: {value} written over the language's neurons raises perplexity "
                f"×{_ratio(first)} where the method takes {first['point']} of all units "
                f"({int(first['count'])} of them the language's) and ×{_ratio(last)} at "
                f"{last['point']} ({int(last['count'])})"
            )
        else:
            top = extreme(own, "ratio", largest=True)
            text = (
                f"{language}: of {n} bands of layers, {value} does most in layers {top['point']} "
                f"(×{_ratio(top)}, {int(top['count'])} units)"
            )
        where = listing(beyond) if beyond else "no point"
        text += f"; its interval lies above every control's ratio at {where}."
        said.append(Sentence(text, "finding" if beyond else "none"))
    return said


def _beyond(row: dict[str, Any], group: pd.DataFrame) -> bool:
    """Whether own units do more than every control at the same point."""
    controls = group[(group["point"] == row["point"]) & (group["kind"] != "own")]["ratio"]
    return bool(len(controls) and row["low"] > max(1.0, float(controls.max())))


def _ratio(row: pd.Series) -> str:
    return with_interval(row["ratio"], row["low"], row["high"], 3 if row["ratio"] < 2 else 2)
