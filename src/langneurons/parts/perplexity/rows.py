"""The table of perplexity changes as a matrix, and each language's own row beside its controls."""

from __future__ import annotations

import numpy as np
import pandas as pd

from langneurons.reporting.aggregate import CONTROLS, extreme


def matrix(own: pd.DataFrame, values: str) -> pd.DataFrame:
    """A column of the ``perplexity`` table as a matrix: neurons of (rows), text of (columns).

    Args:
        own: Rows of one neuron set and value with kind ``own``.
        values: The column.

    Returns:
        The means, languages of the rows first among the columns, so that the diagonal is one.
    """
    cells = own.pivot_table(
        index="row", columns="column", values=values, aggfunc="mean", sort=False
    )
    order = [name for name in cells.index if name in cells.columns]
    return cells[[*order, *(name for name in cells.columns if name not in order)]]


def perplexity_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How each language's own neurons change its own perplexity, beside others and controls.

    Args:
        table: The ``perplexity`` table.

    Returns:
        One row per neuron set, value and language: units, ratio, low, high, ``other`` (the
        largest ratio on any other language), ``other_language``, ``random``, ``matched``
        and ``load`` (largest ratio of any draw on the language itself; NaN without draws),
        ``draws``, and the booleans ``shown`` (interval above 1), ``dominant`` and
        ``beyond_random`` and so on.
    """
    rows = []
    for (neurons, value, row), group in table.groupby(["neurons", "value", "row"], sort=False):
        own = group[group["kind"] == "own"]
        itself, others = own[own["column"] == row], own[own["column"] != row]
        if itself.empty:
            continue
        cell = itself.iloc[0]
        entry: dict[str, object] = {
            "neurons": neurons,
            "value": value,
            "language": row,
            "units": cell["units"],
            "ratio": float(itself["ratio"].mean()),
            "low": float(itself["low"].min()),
            "high": float(itself["high"].max()),
            "other": float(others["ratio"].max()) if len(others) else np.nan,
            "other_language": (
                extreme(others, "ratio", largest=True)["column"] if len(others) else ""
            ),
            "documents": cell["documents"],
            "tokens": cell["tokens"],
        }
        for kind in CONTROLS:
            draws = group[(group["kind"] == kind) & (group["column"] == row)]["ratio"]
            entry[kind] = float(draws.max()) if len(draws) else np.nan
            entry[f"{kind}_draws"] = len(draws)
        rows.append(entry)
    out = pd.DataFrame(rows)
    if out.empty:
        return out
    out["shown"] = out["low"] > 1
    out["dominant"] = out["ratio"] > out["other"]
    for kind in CONTROLS:
        out[f"beyond_{kind}"] = out["ratio"] > out[kind]
    return out
