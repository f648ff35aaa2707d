"""Change of perplexity: the matrix, and each language's own neurons beside controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langneurons.parts.perplexity import figures, sentences, shown
from langneurons.reporting.about import model_name
from langneurons.reporting.figures.beside import with_controls
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.sections import Picture, Section, Tabs
from langneurons.reporting.tables import Table


def sections(run: Run) -> Iterator[Section]:
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
            figures.matrix(group),
        )
        controls = Picture(
            f"perplexity_controls_{stem}",
            f"Perplexity ratio on a language's own text with its {name} neurons set to {value} "
            f"(dot with interval){with_controls(group['kind'])}.",
            figures.controls(group),
        )
        panels.append((f"{name}, {value}", [matrix, controls]))
    yield Section(
        "perplexity",
        "Change of perplexity",
        sentences.perplexity(table),
        [
            Tabs("perplexity", panels),
            shown.specificity(table),
            shown.own_language(table),
            shown.cells(table),
        ],
    )
