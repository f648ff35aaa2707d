"""What setting a language's neurons does to every language's perplexity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from langneurons.parts.perplexity.rows import matrix as cells_of
from langneurons.reporting import style
from langneurons.reporting.figures.beside import beside
from langneurons.reporting.figures.canvas import blank, heat, short
from langneurons.reporting.numbers import number, with_interval


def matrix(perplexity: pd.DataFrame) -> Figure:
    """Heat map: rows are the languages whose neurons are set, columns the languages of the text.

    Args:
        perplexity: Rows of the ``perplexity`` table with one neuron set and one value.
    """
    own = perplexity[perplexity["kind"] == "own"]

    ratio = cells_of(own, "ratio")
    low = cells_of(own, "low").reindex_like(ratio).to_numpy(dtype=float)
    high = cells_of(own, "high").reindex_like(ratio).to_numpy(dtype=float)
    units = own.groupby("row", sort=False)["units"].first()
    cells = ratio.to_numpy(dtype=float)
    top = max(float(np.nanmax(np.abs(np.log(cells)))), 1e-6)
    figure = blank(1.0 + 0.33 * len(ratio))
    axes = figure.subplots()
    digits = 2 if top > math.log(1.1) else 3
    heat(
        axes,
        cells,
        [f"{short(name)}  (n = {number(units[name], 0)})" for name in ratio.index],
        [short(name) for name in ratio.columns],
        opacity=lambda value: abs(math.log(value)) / top,
        colour=lambda value: style.VERMILLION if value >= 1 else style.BLUE,
        text=lambda value: number(value, digits if value < 10 else 1),
        tips=lambda i, j: (
            f"neurons of {ratio.index[i]}, text of {ratio.columns[j]}: perplexity ×"
            f"{with_interval(cells[i, j], low[i, j], high[i, j], 3)}"
        ),
        size=7.5 if len(ratio) <= 10 else 6,
    )
    axes.set_xlabel("language of the text")
    axes.set_ylabel("neurons of")
    axes.set_title("perplexity ratio (orange: rises, blue: falls)")
    return figure


def controls(perplexity: pd.DataFrame, width: float = style.WIDTH) -> Figure:
    """Each language's own perplexity: its own neurons beside random and equally active ones.

    Args:
        perplexity: Rows of the ``perplexity`` table with one neuron set and one value.
        width: Inches.
    """
    diagonal = perplexity[perplexity["row"] == perplexity["column"]]
    rows = diagonal.assign(language=diagonal["row"], value=diagonal["ratio"])
    return beside(rows, "perplexity ratio on the language itself", 1, _say, ratio=True, width=width)


def _say(row: dict[str, Any]) -> str:
    kind = style.LABELS[row["kind"]]
    size = (
        f", {number(row['documents'], 0)} documents, {number(row['tokens'], 0)} tokens"
        if row["kind"] == "own"
        else ""
    )
    ratio = with_interval(row["value"], row["low"], row["high"], 3)
    return f"{row['language']}: {kind} ×{ratio}{size}"
