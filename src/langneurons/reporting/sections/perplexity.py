"""Change of perplexity, and its sweep over the value written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from langneurons.reporting import answer
from langneurons.reporting.about import model_name
from langneurons.reporting.figures import perplexity as perplexity_figures
from langneurons.reporting.figures import sweep as sweep_figures
from langneurons.reporting.inputs import Run
from langneurons.reporting.sections.base import Picture, Section, Tabs
from langneurons.reporting.tables import Table, perplexity
from langneurons.reporting.tables.plain import plain
from langneurons.reporting.tables.scores import slug


def change(run: Run) -> Iterator[Section]:
    """The matrix, and each language's own neurons beside controls."""
    table = run.table("perplexity")
    if table is None:
        return
    panels: list[tuple[str, Sequence[Picture | Table]]] = []
    for (name, value), group in table.groupby(["neurons", "value"], sort=False):
        stem = f"{slug(str(name))}_{slug(str(value))}"
        matrix = Picture(
            f"perplexity_matrix_{stem}",
            f"Perplexity of {model_name(run)} on text of each language (columns) with the "
            f"{name} neurons of each language (rows; n: units) set to {value}, as a ratio to the "
            "untouched perplexity.",
            perplexity_figures.matrix(group),
        )
        controls = Picture(
            f"perplexity_controls_{stem}",
            f"Perplexity ratio on a language's own text with its {name} neurons set to {value} "
            "(dot with interval), beside draws of as many random and of equally active random "
            "units (one mark a draw).",
            perplexity_figures.controls(group),
        )
        panels.append((f"{name}, {value}", [matrix, controls]))
    yield Section(
        "perplexity",
        "Change of perplexity",
        answer.perplexity(table),
        [
            Tabs("perplexity", panels),
            perplexity.specificity(table),
            perplexity.own_language(table),
            perplexity.cells(table),
        ],
    )


_SWEPT = {
    "value": "the value written over the language's own neurons",
    "share": "the share of all units that the method takes, with the language's own neurons among "
    "them set to {value}",
    "layers": "the layers whose own neurons of the language are set to {value}",
}


def sweep(run: Run) -> Iterator[Section]:
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
    yield Section("sweep", title, answer.sweep(table), [Tabs("sweep", panels), shown])


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
                f"{_SWEPT[str(axis)].format(value=value)}, and over draws of random and of equally "
                "active units; bands: 95 % intervals over documents (draws: mean and envelope)."
                + below,
                sweep_figures.sweep(part),
            )
