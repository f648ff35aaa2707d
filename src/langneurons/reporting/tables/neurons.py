"""How many neurons each language has, and where."""

from __future__ import annotations

import pandas as pd

from langneurons.reporting.tables.base import Column, Table


def neurons(table: pd.DataFrame) -> Table:
    """Neurons per set and language.

    Args:
        table: The ``neurons`` table.
    """
    rows = []
    for (name, language), group in table.groupby(["neurons", "language"], sort=False):
        units, total = int(group["units"].sum()), int(group["total"].sum())
        share = group["units"] / group["total"]
        densest = group["layer"].to_numpy()[int(share.to_numpy().argmax())]
        rows.append(
            {
                "neurons": name,
                **({"reading": group["reading"].iloc[0]} if "reading" in table else {}),
                "language": language,
                "units": units,
                "total": total,
                "share": 100 * units / total if total else float("nan"),
                "layers": int((group["units"] > 0).sum()),
                "densest_layer": int(densest) if units else float("nan"),
            }
        )
    return Table(
        "neurons",
        "Neurons by set and language",
        "Language-specific neurons per identification method and language: number, share of all "
        "units of the site, number of layers that hold any, and the layer with the largest share.",
        pd.DataFrame(rows),
        [
            Column("neurons", "set"),
            *_reading(table),
            Column("language", "language"),
            Column("units", "neurons", "count"),
            Column("share", "share of units, %", "number", 2),
            Column("layers", "layers with any", "count"),
            Column("densest_layer", "densest layer", "count"),
        ],
    )


def layers(table: pd.DataFrame) -> Table:
    """Neurons per set, language and layer.

    Args:
        table: The ``neurons`` table.
    """
    reading = _reading(table)
    names = ["neurons", *(column.key for column in reading), "language", "layer", "units", "total"]
    data = table[names].copy()
    data["share"] = 100 * data["units"] / data["total"]
    return Table(
        "neurons_by_layer",
        "Neurons by layer",
        "Language-specific neurons per layer, with the layer's number of units.",
        data,
        [
            Column("neurons", "set"),
            *reading,
            Column("language", "language"),
            Column("layer", "layer", "count"),
            Column("units", "neurons", "count"),
            Column("total", "units of the layer", "count"),
            Column("share", "share, %", "number", 2),
        ],
    )


def _reading(table: pd.DataFrame) -> list[Column]:
    """Of units inside experts: which tokens their shares are of."""
    return [Column("reading", "shares of tokens")] if "reading" in table else []
