"""Which neuron sets matter to their own language: one line a set, from perplexity changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from langneurons.evaluation.matrix import CONTROLS


def specificity(table: pd.DataFrame, by: str = "neurons") -> pd.DataFrame:
    """Own text against others' text and against random units, for each neuron set.

    A language counts as ``specific`` where the lower bound of its own text's ratio lies above the
    ratio of every other text under the same units and above every control draw on its own text.

    Args:
        table: Rows of :attr:`PerplexityChange.table` of several sets, with a column that names
            the set.
        by: That column.

    Returns:
        One row a set: ``by``, ``languages`` (with units and text of their own), ``units`` (mean of
        a language), ``own``, ``others``, ``random``, ``matched``, ``load`` (geometric means of the
        perplexity ratio: own units on own text, own units on other text, control units on own
        text; nan where not measured), ``own_low``, ``own_high`` and so on (geometric means of the
        ends of their intervals: as wide as if all cells erred alike, so rather too wide), and
        numbers of languages ``beyond_others``, ``beyond_random``, ``beyond_matched``,
        ``beyond_load`` and ``specific`` (all that were measured at once).
    """
    found = []
    for name, part in table.groupby(by, sort=False):
        own = part[part["kind"] == "own"]
        diagonal = own[(own["row"] == own["column"]) & (own["units"] > 0)]
        rows = set(diagonal["row"])
        if not rows:
            continue
        away = own[own["row"].isin(rows) & (own["row"] != own["column"])]
        here = part[part["row"].isin(rows) & (part["row"] == part["column"])]
        compared = {"others": away}
        compared |= {kind: here[here["kind"] == kind] for kind in CONTROLS}
        low = diagonal.set_index("row")["low"]
        beyond = pd.DataFrame(
            {
                kind: low > cells.groupby("row")["ratio"].max().reindex(low.index)
                for kind, cells in compared.items()
                if len(cells)
            },
            index=low.index,
        )
        row: dict[str, Any] = {by: name, "languages": len(rows)}
        row["units"] = float(diagonal["units"].mean())
        for kind, cells in {"own": diagonal, **compared}.items():
            row[kind] = _mean(cells["ratio"])
            row |= {f"{kind}_{end}": _mean(cells[end]) for end in ("low", "high")}
        for kind in compared:
            row[f"beyond_{kind}"] = int(beyond[kind].sum()) if kind in beyond else None
        row["specific"] = int(beyond.all(axis=1).sum()) if len(beyond.columns) else None
        found.append(row)
    return pd.DataFrame(found)


def _mean(ratios: pd.Series) -> float:
    """Geometric mean; nan of nothing, or where one is not known."""
    return float(np.exp(np.log(ratios).mean(skipna=False))) if len(ratios) else float("nan")
