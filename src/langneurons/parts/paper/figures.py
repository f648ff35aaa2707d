"""The paper's own figures where the report's differ, and a run beside the published numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from langneurons.parts.perplexity.rows import matrix
from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, heat, short, tip
from langneurons.reporting.numbers import number, with_interval


def ppxc(perplexity: pd.DataFrame) -> Figure:
    """Change of perplexity as the paper draws it: a difference, not a ratio.

    Args:
        perplexity: Rows of the ``perplexity`` table with one neuron set and one value.
    """
    own = perplexity[perplexity["kind"] == "own"].copy()
    own["change"] = own["perplexity"] - own["baseline"]
    cells = matrix(own, "change")
    units = own.groupby("row", sort=False)["units"].first()
    values = cells.to_numpy(dtype=float)
    top = max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-9)
    figure = blank(1.0 + 0.33 * len(cells))
    axes = figure.subplots()
    heat(
        axes,
        values,
        [f"{short(name)}  (n = {number(units[name], 0)})" for name in cells.index],
        [short(name) for name in cells.columns],
        opacity=lambda value: float(np.sqrt(abs(value) / top)),
        colour=lambda value: style.VERMILLION if value >= 0 else style.BLUE,
        text=lambda value: number(value, 2 if abs(value) < 10 else 0, signed=True),
        tips=lambda i, j: (
            f"neurons of {cells.index[i]}, text of {cells.columns[j]}: perplexity "
            f"{number(values[i, j], 3, signed=True)}"
        ),
        size=7 if len(cells) <= 10 else 5.5,
    )
    axes.set_xlabel("perplexity on")
    axes.set_ylabel("neurons of")
    axes.set_title("PPXC: change of perplexity (orange: rises, blue: falls)")
    return figure


def beside(data: pd.DataFrame) -> Figure:
    """Published changes against this run's own, cell by cell; on the line they are equal.

    Args:
        data: Changes from :func:`langneurons.parts.paper.compared.compared`, one metric.
    """
    figure = blank(4.0, 5.2)
    axes = figure.subplots()
    ends = [*data["published"], *data["low"], *data["high"], 0.0]
    low, high = min(ends) - 0.5, max(ends) + 0.5
    axes.plot([low, high], [low, high], color=style.INK, lw=0.7, label="equal")
    for order, (method, rows) in enumerate(data.groupby("method", sort=False)):
        colour, marker = style.series(order)
        for row in records(rows):
            axes.plot([row["published"]] * 2, [row["low"], row["high"]], color=colour, lw=1)
            (dot,) = axes.plot(row["published"], row["own"], marker, color=colour, ms=4.5)
            own = with_interval(row["own"], row["low"], row["high"], 1, signed=True)
            tip(
                dot,
                f"{row['task']}, {row['language']}, {method}, {row['value']}: published "
                f"{number(row['published'], 2, signed=True)}, here {own} points",
            )
        axes.plot([], [], marker, color=colour, label=f"{short(method)} (n = {len(rows)})")
    axes.set_xlim(low, high)
    axes.set_xlabel("published change, points")
    axes.set_ylabel("change in this run, points")
    figure.legend(loc="outside upper left", ncols=3)
    return figure
