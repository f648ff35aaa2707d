"""Values written over units, and how far the residual stream moves."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, heat, logarithmic, short, tip
from langneurons.reporting.numbers import number, with_interval


def deactivation(table: pd.DataFrame) -> Figure:
    """Perplexity over the values written, above the share of units that never show the value.

    Args:
        table: Rows of the ``deactivation`` table with one neuron set and language.
    """
    values = list(dict.fromkeys(table["value"]))
    at = {value: place for place, value in enumerate(values)}
    figure = blank(3.6)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    top.axhline(1, color=style.INK, lw=0.7)
    for kind, shift in (("random", 0.1), ("matched", 0.22)):
        rows = table[table["kind"] == kind]
        if len(rows):
            places = rows["value"].map(at).to_numpy(dtype=float) + shift
            mark = {"random": "_", "matched": "x"}[kind]
            top.plot(places, rows["ratio"], mark, color=style.UNITS[kind], ms=7, mew=1.6,
                     label=style.LABELS[kind])  # fmt: skip
    own = table[table["kind"] == "own"]
    for row in records(own):
        place = at[row["value"]] - 0.1
        top.plot([place, place], [row["low"], row["high"]], color=style.OWN, lw=1.8)
        (dot,) = top.plot(place, row["ratio"], "o", color=style.OWN, ms=5)
        ratio = with_interval(row["ratio"], row["low"], row["high"], 3)
        tip(dot, f"own neurons, {row['value']}: ×{ratio}")
    top.plot([], [], "o", color=style.OWN, ms=5, label=style.LABELS["own"])
    top.set_ylabel("perplexity ratio")
    largest = float(table["ratio"].max())
    if largest > 5:
        logarithmic(top, "y", 1, largest)
        top.set_ylabel("perplexity ratio, log")
    bars = []
    for column, shift, colour, label in (
        ("unusual", -0.18, style.ORANGE, "outside the unit's own P1 to P99"),
        ("impossible", 0.18, style.PURPLE, "outside what the activation can give"),
    ):
        for row in records(own):
            (bar,) = low.bar(at[row["value"]] + shift, 100 * row[column], width=0.34, color=colour)
            tip(bar, f"{row['value']}: {number(100 * row[column], 0)} % of units {label}")
        bars.append(Patch(color=colour, label=label))
    low.set_ylim(0, 105)
    low.set_ylabel("units, %")
    low.set_xticks(range(len(values)), [short(value, 10) for value in values])
    low.set_xlabel("value written")
    marks, names = top.get_legend_handles_labels()
    figure.legend([*marks, *bars], [*names, *(str(bar.get_label()) for bar in bars)],
                  loc="outside upper left", ncols=2)  # fmt: skip
    return figure


def residual(table: pd.DataFrame) -> Figure:
    """How far the residual stream moves behind every layer, by value written to own neurons.

    Args:
        table: Rows of the ``residual`` table with one neuron set and language.
    """
    moved = table[table["quantity"] == "displacement"]

    def cells(kind: str) -> pd.DataFrame:
        return moved[moved["kind"] == kind].pivot_table(
            index="value", columns="layer", values="change", aggfunc="mean", sort=False
        )

    own, matched = cells("own"), cells("matched")
    values = own.to_numpy(dtype=float)
    others = matched.reindex_like(own).to_numpy(dtype=float) if len(matched) else None
    top = max(float(np.nanmax(values)), 1e-9)
    digits = 3 if top < 0.1 else 2

    def say(i: int, j: int) -> str:
        text = f"{own.index[i]}, layer {own.columns[j]}: moved by {number(values[i, j], 3)}"
        if others is None or math.isnan(others[i, j]):
            return text
        return f"{text} (equally active neurons: {number(others[i, j], 3)})"

    figure = blank(0.9 + 0.27 * len(own))
    axes = figure.subplots()
    heat(
        axes,
        values,
        [short(value) for value in own.index],
        [str(layer) for layer in own.columns],
        opacity=lambda value: value / top,
        text=(lambda value: number(value, digits)) if values.shape[1] <= 14 else None,
        tips=say,
        size=7.5,
    )
    axes.set_xlabel("behind layer")
    axes.set_ylabel("value written")
    axes.set_title("displacement of the residual stream, relative to its norm")
    return figure
