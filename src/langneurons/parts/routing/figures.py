"""Routing by layer and language, and the load of experts by language."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from langneurons.reporting import style
from langneurons.reporting.figures.canvas import blank, heat, short, thin, tip
from langneurons.reporting.numbers import number

WRITTEN = 16
"""Experts in a layer up to which the load is written into the cells."""


def divergence(routing: pd.DataFrame) -> Figure:
    """How far each language's routing is from the pivot's, a curve a language.

    Args:
        routing: The ``routing`` table.
    """
    figure = blank(2.9)
    axes = figure.subplots()
    pivot = routing["pivot"].iloc[0]
    own = routing[routing["language"] == pivot]
    if own["halves"].notna().any():
        axes.plot(
            own["layer"], own["halves"], "--", color=style.GREY, lw=1.2,
            label=f"{short(pivot)}, two halves",
        )  # fmt: skip
    others = routing[routing["language"] != pivot]
    for order, (language, group) in enumerate(others.groupby("language", sort=False)):
        colour, marker = style.series(order)
        axes.plot(
            group["layer"], group["divergence"], marker=marker, ms=4, color=colour, lw=1.3,
            label=short(language),
        )  # fmt: skip
        for layer, value in zip(group["layer"], group["divergence"], strict=True):
            (dot,) = axes.plot(layer, value, marker, color=colour, ms=4)
            tip(dot, f"{language}, layer {layer}: divergence {number(value, 3)} from {pivot}")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.set_xlabel("layer")
    axes.set_ylabel(f"routing divergence from {short(pivot)}")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def loads(layer: pd.DataFrame) -> Figure:
    """Heat map of one layer: share of each language's tokens that an expert takes.

    Args:
        layer: Rows of the ``expert_load`` table with one value of ``layer``.
    """
    table = layer.pivot_table(index="language", columns="expert", values="load", sort=False)
    table = table.sort_index(axis=1)
    cells = 100 * table.to_numpy(dtype=float)
    top = max(float(np.nanmax(cells)), 1e-9)
    few = cells.shape[1] <= WRITTEN
    figure = blank(0.9 + 0.27 * len(table))
    axes = figure.subplots()
    heat(
        axes,
        cells,
        [short(name) for name in table.index],
        thin([str(expert) for expert in table.columns], 20),
        opacity=lambda value: value / top,
        text=(lambda value: number(value, 0)) if few else None,
        tips=lambda i, j: (
            f"{table.index[i]}, expert {table.columns[j]}: {number(cells[i, j], 1)} % of the tokens"
        ),
        size=7.5,
    )
    axes.set_xlabel("expert")
    axes.set_title(f"share of the language's tokens, %  (darkest: {number(top, 0)} %)")
    return figure
