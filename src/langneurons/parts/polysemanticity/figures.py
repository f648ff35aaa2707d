"""Which information units carry."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, short, tip
from langneurons.reporting.numbers import number, with_interval


def information(table: pd.DataFrame) -> Figure:
    """Share of own and of equally active units that carry language and task information.

    Args:
        table: Rows of the ``polysemanticity`` table with one neuron set.
    """
    figure = blank(0.9 + 0.28 * len(table))
    axes = figure.subplots()
    labels = []
    for place, row in enumerate(records(table)):
        own, other = 100 * row["own"], 100 * row["matched"]
        axes.plot([other, own], [place, place], color=style.GREY, lw=1, zorder=1)
        axes.plot(other, place, "x", color=style.MATCHED, ms=6, mew=1.6)
        (dot,) = axes.plot(own, place, "o", color=style.OWN, ms=6)
        difference = with_interval(
            100 * row["difference"], 100 * row["low"], 100 * row["high"], 0, signed=True
        )
        tip(
            dot,
            f"{row['language']}, {row['carries']}: {number(own, 0)} % of {row['units']} own "
            f"units, {number(other, 0)} % of {row['controls']} equally active; difference "
            f"{difference} points",
        )
        labels.append(f"{short(row['language'])}: {row['carries']} (n = {row['units']})")
    axes.plot([], [], "o", color=style.OWN, label=style.LABELS["own"])
    axes.plot([], [], "x", color=style.MATCHED, mew=1.6, label=style.LABELS["matched"])
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("units that carry the information, %")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
