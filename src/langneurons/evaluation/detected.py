"""Which languages were written, as shares with intervals."""

from __future__ import annotations

import pandas as pd
from scipy.stats import binomtest

LEVEL = 0.95


def detected(rows: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """Share of each detected language within a cell, with Wilson's interval.

    Args:
        rows: One row a continuation, with ``language_detected``.
        cell: Columns that make a cell.

    Returns:
        One row a cell and language: ``hits``, ``n``, ``share`` and its interval.
    """
    if not len(rows):
        return rows
    counted = rows.groupby([*cell, "language_detected"], sort=False).size().reset_index(name="hits")
    counted["n"] = counted.groupby(cell)["hits"].transform("sum")
    counted["share"] = counted["hits"] / counted["n"]
    ends = [
        binomtest(int(hits), int(n)).proportion_ci(LEVEL, method="wilson")
        for hits, n in zip(counted["hits"], counted["n"], strict=True)
    ]
    return counted.assign(low=[end.low for end in ends], high=[end.high for end in ends])
