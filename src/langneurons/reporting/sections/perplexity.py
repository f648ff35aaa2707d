"""Change of perplexity, and its sweep over the value written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        [Tabs("perplexity", panels), perplexity.own_language(table), perplexity.cells(table)],
    )


def sweep(run: Run) -> Iterator[Section]:
    """Perplexity over the value written, a tab a language."""
    table = run.table("sweep")
    if table is None:
        return
    panels = [
        (
            str(language),
            [
                Picture(
                    f"sweep_{slug(str(language))}",
                    f"Perplexity ratio on {language} text against the value written over the "
                    "language's own neurons and over draws of random and of equally active ones; "
                    "bands: 95 % intervals over documents (draws: mean and envelope).",
                    sweep_figures.sweep(group),
                )
            ],
        )
        for language, group in table.groupby("language", sort=False)
    ]
    shown = plain(table, "sweep", "Every point", "Perplexity ratio for every value written.")
    yield Section("sweep", "Sweep of the value written", (), [Tabs("sweep", panels), shown])
