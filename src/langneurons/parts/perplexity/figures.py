"""What setting a language's neurons does to every language's perplexity."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from langneurons.parts.perplexity.rows import matrix as cells_of
from langneurons.reporting import style
from langneurons.reporting.figures.canvas import blank, heat, logarithmic, short, tip
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


def controls(perplexity: pd.DataFrame) -> Figure:
    """Each language's own perplexity: its own neurons beside random and equally active ones.

    Args:
        perplexity: Rows of the ``perplexity`` table with one neuron set and one value.
    """
    diagonal = perplexity[perplexity["row"] == perplexity["column"]]
    order = list(dict.fromkeys(diagonal["row"]))
    figure = blank(1.0 + 0.34 * len(order))
    axes = figure.subplots()
    seen: set[str] = set()
    for place, language in enumerate(order):
        group = diagonal[diagonal["row"] == language]
        own = group[group["kind"] == "own"]
        if len(own):
            row = own.iloc[0]
            bar = axes.plot([row["low"], row["high"]], [place - 0.22] * 2, color=style.OWN, lw=2)
            (dot,) = axes.plot(row["ratio"], place - 0.22, "o", color=style.OWN, ms=6)
            text = (
                f"{language}: own neurons ×"
                f"{with_interval(row['ratio'], row['low'], row['high'], 3)}, "
                f"{number(row['documents'], 0)} documents, {number(row['tokens'], 0)} tokens"
            )
            tip(dot, text)
            tip(bar[0], text)
            seen.add("own")
        for kind, offset, marker in (("random", 0.03, "|"), ("matched", 0.26, "x")):
            draws = group[group["kind"] == kind]["ratio"].to_numpy(dtype=float)
            if len(draws):
                (marks,) = axes.plot(
                    draws, [place + offset] * len(draws), marker, color=style.UNITS[kind], mew=1.4
                )
                tip(
                    marks,
                    f"{language}: {len(draws)} draws of {style.LABELS[kind]}, largest ×"
                    f"{number(draws.max(), 3)}",
                )
                seen.add(kind)
    axes.axvline(1, color=style.INK, lw=0.7, zorder=0)
    top = float(np.nanmax(diagonal["high"].fillna(diagonal["ratio"])))
    if top > 3:
        logarithmic(axes, "x", 1, top)
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.set_yticks(range(len(order)), [short(name) for name in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    scale = ", logarithmic" if top > 3 else ""
    axes.set_xlabel(f"perplexity ratio on the language itself{scale}")
    for kind, marker in (("own", "o"), ("random", "|"), ("matched", "x")):
        if kind in seen:
            axes.plot([], [], marker, color=style.UNITS[kind], mew=1.4, label=style.LABELS[kind])
    figure.legend(loc="outside upper left", ncols=3)
    return figure
