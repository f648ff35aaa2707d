"""What setting neurons does to perplexity."""

from __future__ import annotations

import pandas as pd

from langneurons.evaluation import specificity as by_set
from langneurons.parts.perplexity.rows import perplexity_rows
from langneurons.reporting.tables.base import Column, Table


def own_language(table: pd.DataFrame) -> Table:
    """Each language's own neurons on its own text, beside other languages and controls.

    Args:
        table: The ``perplexity`` table.
    """
    rows = perplexity_rows(table)
    return Table(
        "perplexity_own",
        "A language's own neurons on its own text",
        "Ratio of the perplexity with a language's neurons set to the value to the perplexity "
        "untouched, on held-out text of that language, with its interval; beside it the largest "
        "ratio the same neurons cause on any other language, and the largest of the draws of as "
        "many control units of each kind on the language itself.",
        rows,
        [
            Column("neurons", "set"),
            Column("value", "value"),
            Column("language", "language"),
            Column("units", "units", "count"),
            Column("ratio", "own text, ratio", "number", 3, ("low", "high")),
            Column("other", "largest other", "number", 3),
            Column("other_language", "which"),
            Column("random", "largest random", "number", 3),
            Column("matched", "largest equally active", "number", 3),
            *_where_drawn(rows, Column("load", "largest equally loaded", "number", 3)),
            Column("random_draws", "draws", "count"),
            Column("tokens", "tokens", "count"),
        ],
    )


def specificity(table: pd.DataFrame) -> Table:
    """One line a neuron set: own text, others' text and controls, over all languages.

    Args:
        table: The ``perplexity`` table.
    """
    rows = by_set(table)
    return Table(
        "specificity",
        "Neuron sets beside each other",
        "Geometric means over languages of the perplexity ratio: a set's units of a language on "
        "its own text, on other languages' text, and control units on the own text, each with the "
        "geometric means of the ends of its intervals (as wide as if all cells erred alike). "
        "Beyond: languages in which the lower end of the own ratio lies above every other text, "
        "and every draw of a kind of control; specific: above all of them.",
        rows,
        [
            Column("neurons", "set"),
            Column("languages", "languages", "count"),
            Column("units", "units, mean", "number", 1),
            *(
                Column(name, label, "number", 3, (f"{name}_low", f"{name}_high"))
                for name, label in (
                    ("own", "own text, ratio"),
                    ("others", "other texts"),
                    ("random", "random"),
                    ("matched", "equally active"),
                )
            ),
            *_where_drawn(
                rows, Column("load", "equally loaded", "number", 3, ("load_low", "load_high"))
            ),
            Column("beyond_others", "beyond other texts", "count"),
            Column("beyond_random", "beyond random", "count"),
            Column("beyond_matched", "beyond equally active", "count"),
            *_where_drawn(rows, Column("beyond_load", "beyond equally loaded", "count")),
            Column("specific", "specific", "count"),
        ],
    )


def cells(table: pd.DataFrame) -> Table:
    """Every cell of the perplexity-change matrix, controls included.

    Args:
        table: The ``perplexity`` table.
    """
    return Table(
        "perplexity",
        "Every cell",
        "Perplexity of every language's text with every language's neurons set, with the ratio to "
        "the untouched perplexity and its interval; draws of controls by seed.",
        table,
        [
            Column("neurons", "set"),
            Column("value", "value"),
            Column("kind", "units"),
            Column("seed", "seed"),
            Column("row", "neurons of"),
            Column("column", "text of"),
            Column("units", "n units", "count"),
            Column("baseline", "untouched", "number", 2),
            Column("perplexity", "perplexity", "number", 2),
            Column("ratio", "ratio", "number", 3, ("low", "high")),
        ],
    )


def _where_drawn(rows: pd.DataFrame, column: Column) -> list[Column]:
    """A column of controls that few studies draw; none where this one did not."""
    return [column] if column.key in rows and rows[column.key].notna().any() else []
