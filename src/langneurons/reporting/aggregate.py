"""What tables of several parts are read with: rows, extremes, and overlap beside chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

CONTROLS = ("random", "matched", "load")
LEVEL = 0.05


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain mappings."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def starred(row: Mapping[str, Any]) -> bool:
    """Whether a difference gets an asterisk: p after Holm and an interval that leaves zero out."""
    beyond = row["difference_low"] > 0 or row["difference_high"] < 0
    return bool(row["p_holm"] < LEVEL and beyond)


def extreme(table: pd.DataFrame, column: str, *, largest: bool) -> pd.Series:
    """The row with the largest (or smallest) value of a column; missing values never win."""
    return table.sort_values(column, ascending=not largest, na_position="last").iloc[0]


def same_language(overlap: pd.DataFrame) -> pd.DataFrame:
    """Overlap of two different neuron sets for the same language, with corrected p-values.

    Returns:
        Rows with ``a`` != ``b`` and equal languages; ``p_adjusted`` is Bonferroni's over the rows
        of the pair, ``above`` says that the overlap exceeds chance at 5 %, ``expected_jaccard``
        is the Jaccard index of the expected number of shared units.
    """
    rows = overlap[
        (overlap["a"] != overlap["b"]) & (overlap["language_a"] == overlap["language_b"])
    ].copy()
    tests = rows.groupby(["a", "b"])["p_value"].transform("size")
    rows["p_adjusted"] = np.minimum(1.0, rows["p_value"] * tests)
    rows["above"] = (rows["p_adjusted"] < LEVEL) & (rows["shared"] > rows["expected"])
    rows["expected_jaccard"] = expected_jaccard(rows)
    return rows.reset_index(drop=True)


def expected_jaccard(overlap: pd.DataFrame) -> pd.Series:
    """Jaccard index of the number of units two sets of these sizes share by chance."""
    union = overlap["size_a"] + overlap["size_b"] - overlap["expected"]
    return (overlap["expected"] / union.where(union > 0)).astype(float)
