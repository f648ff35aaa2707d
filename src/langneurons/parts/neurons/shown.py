"""What neuron sets share."""

from __future__ import annotations

import pandas as pd

from langneurons.reporting.aggregate import expected_jaccard, same_language
from langneurons.reporting.tables.base import Column, Table


def between_sets(table: pd.DataFrame) -> Table | None:
    """Overlap of different neuron sets for the same language; None where there is only one set.

    Args:
        table: The ``overlap`` table.
    """
    rows = same_language(table)
    if rows.empty:
        return None
    return Table(
        "overlap_between_sets",
        "The same language in two sets",
        "Units two identification methods (or two language sets) share for the same language: "
        "sizes, shared units, units expected to be shared by chance (hypergeometric), Jaccard "
        "index with its chance level, p-value of at least that many shared units (Bonferroni over "
        "the languages of a pair).",
        rows,
        [
            Column("a", "first set"),
            Column("b", "second set"),
            Column("language_a", "language"),
            Column("size_a", "first, units", "count"),
            Column("size_b", "second, units", "count"),
            Column("shared", "shared", "count"),
            Column("expected", "by chance", "number", 1),
            Column("jaccard", "Jaccard", "number", 3),
            Column("expected_jaccard", "Jaccard by chance", "number", 3),
            Column("p_adjusted", "p, adjusted", "p"),
        ],
    )


def all_pairs(table: pd.DataFrame) -> Table:
    """Every pair of language and set the run compared.

    Args:
        table: The ``overlap`` table.
    """
    place = {name: at for at, name in enumerate(dict.fromkeys(table["language_a"]))}
    first, second = (table[key].map(place) for key in ("language_a", "language_b"))
    data = table[(table["a"] != table["b"]) | (first < second)]  # within a set: each pair once
    data = data.assign(expected_jaccard=expected_jaccard(data))
    return Table(
        "overlap",
        "All pairs",
        "Units shared by every pair of languages within and between neuron sets, with the number "
        "expected by chance (hypergeometric) and the uncorrected p-value of at least that many.",
        data,
        [
            Column("a", "first set"),
            Column("language_a", "language"),
            Column("b", "second set"),
            Column("language_b", "language"),
            Column("size_a", "first, units", "count"),
            Column("size_b", "second, units", "count"),
            Column("shared", "shared", "count"),
            Column("expected", "by chance", "number", 1),
            Column("jaccard", "Jaccard", "number", 3),
            Column("p_value", "p", "p"),
        ],
    )
