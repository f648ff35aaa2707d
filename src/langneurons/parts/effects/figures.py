"""The effect of single units."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from langneurons.reporting import style
from langneurons.reporting.figures.canvas import blank, short, tip
from langneurons.reporting.numbers import number


def unit_effects(table: pd.DataFrame) -> Figure:
    """Perplexity ratio of single units, sorted, one curve a language.

    Args:
        table: The ``unit_effects`` table.
    """
    figure = blank(2.6)
    axes = figure.subplots()
    axes.axhline(1, color=style.INK, lw=0.7)
    for order, (language, group) in enumerate(table.groupby("language", sort=False)):
        rows = group.sort_values("ratio", ascending=False)
        ratio = rows["ratio"].to_numpy(dtype=float)
        colour, marker = style.series(order)
        axes.plot(
            np.arange(1, len(ratio) + 1),
            ratio,
            color=colour,
            marker=marker,
            ms=3,
            lw=1,
            label=f"{short(language)} (n = {number(len(ratio), 0)})",
        )
        first = rows.iloc[0]
        (top,) = axes.plot(1, ratio[0], "o", ms=7, alpha=0)
        tip(
            top,
            f"{language}: layer {first['layer']}, unit {first['index']}: "
            f"×{number(float(first['ratio']), 3)}",
        )
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlabel("rank of the unit")
    axes.set_ylabel("perplexity ratio")
    figure.legend(loc="outside upper left", ncols=4)
    return figure
