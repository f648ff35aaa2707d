"""The readings of a statistic."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, short, tip
from langneurons.reporting.numbers import number, with_interval

READINGS = {
    "strict": "right: act to act",
    "paper": "paper: pre to act",
    "clipped": "paper, in range",
    "inside": "pre to pre",
    "batches": "right, mean of batches",
}
"""The readings of a statistic, by what is written where."""


CONTROLS = (("random", "|", 7, 0.12), ("matched", "x", 4, 0.3))
"""Kind of control, its mark, the mark's size, and how far below its row it stands."""


def crossing(table: pd.DataFrame) -> Figure:
    """The readings of a statistic: own neurons with interval, beside the draws of controls.

    Args:
        table: Rows of the ``crossing`` table with one neuron set and language.
    """
    values = list(dict.fromkeys(table["value"]))
    readings = [name for name in READINGS if (table["reading"] == name).any()]
    columns = min(3, len(values))
    lines = math.ceil(len(values) / columns)
    figure = blank(0.9 + lines * (0.5 + 0.3 * len(readings)))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(panels.flat):
        if place >= len(values):
            axes.set_visible(False)
            continue
        here = table[table["value"] == values[place]]
        axes.axvline(1, color=style.INK, lw=0.7)
        for y, reading in enumerate(readings):
            rows = here[here["reading"] == reading]
            own = rows[rows["kind"] == "own"]
            for kind, mark, size, below in CONTROLS:
                draws = rows[rows["kind"] == kind]["ratio"].to_numpy(dtype=float)
                at = [y + below] * len(draws)
                axes.plot(draws, at, mark, color=style.UNITS[kind], ms=size, mew=1.6)
            for row in records(own):
                axes.plot([row["low"], row["high"]], [y - 0.12] * 2, color=style.OWN, lw=1.6)
                (dot,) = axes.plot(row["ratio"], y - 0.12, "o", color=style.OWN, ms=5)
                ratio = with_interval(row["ratio"], row["low"], row["high"], 3)
                tip(
                    dot,
                    f"{values[place]}, {READINGS[reading]}: ×{ratio}; values out of range: "
                    f"{number(100 * row['impossible'], 0)} %",
                )
        axes.set_title(short(values[place]))
        axes.set_yticks(range(len(readings)), [READINGS[name] for name in readings])
        axes.set_ylim(len(readings) - 0.5, -0.5)
    for axes in panels.flat[max(0, len(values) - columns) : len(values)]:
        axes.tick_params(labelbottom=True)
    panels[0, 0].plot([], [], "o", color=style.OWN, label=style.LABELS["own"])
    for kind, mark, _, _ in CONTROLS:
        if (table["kind"] == kind).any():
            colour, label = style.UNITS[kind], style.LABELS[kind]
            panels[0, 0].plot([], [], mark, color=colour, mew=1.6, label=label)
    figure.supxlabel("perplexity ratio", fontsize=9)
    figure.legend(loc="outside upper left", ncols=3)
    return figure
