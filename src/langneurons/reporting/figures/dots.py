"""Figures of subspaces and features: dots with intervals."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, tip
from langneurons.reporting.numbers import with_interval


def dots(
    table: pd.DataFrame,
    rows: str,
    series: str,
    columns: tuple[str, str, str],
    label: str,
    *,
    reference: float | None = None,
    digits: int = 3,
) -> Figure:
    """One line a row, a dot with its interval for each series.

    Args:
        table: The rows.
        rows: Column that names a line.
        series: Column that names a colour.
        columns: Columns of the value and of its interval.
        label: Of the axis, with the unit.
        reference: A vertical line.
        digits: Of the texts under the pointer.
    """
    value, low, high = columns
    names = list(dict.fromkeys(table[rows].astype(str)))
    kinds = list(dict.fromkeys(table[series].astype(str)))
    figure = blank(0.9 + 0.16 * len(names) * max(len(kinds), 2))
    axes = figure.subplots()
    if reference is not None:
        axes.axvline(reference, color=style.INK, lw=0.7)
    for order, kind in enumerate(kinds):
        colour, marker = style.PALETTE[order % 6], style.MARKERS[order % 6]
        shift = (order - (len(kinds) - 1) / 2) * 0.75 / max(len(kinds), 1)
        seen = False
        for row in records(table[table[series].astype(str) == kind]):
            if pd.isna(row[value]):
                continue
            at = names.index(str(row[rows])) + shift
            if not pd.isna(row[low]):
                axes.plot([row[low], row[high]], [at, at], color=colour, lw=1.1)
            (dot,) = axes.plot(
                row[value], at, marker, color=colour, ms=4, label=None if seen else kind
            )
            seen = True
            text = with_interval(row[value], row[low], row[high], digits)
            tip(dot, f"{row[rows]}, {kind}: {text}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    figure.legend(loc="outside upper left", ncols=4)
    return figure
