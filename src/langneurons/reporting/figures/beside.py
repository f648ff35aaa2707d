"""Own neurons beside controls, language by language: the figure that carries a comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, logarithmic, short, tip
from langneurons.reporting.numbers import count

LOGARITHMIC = 3.0
"""Ratios above this are drawn on a logarithmic axis."""

NARROW = 4.4
"""Inches: a figure that is still read on a phone."""

MARKS = {"own": ("o", -0.24), "matched": ("x", 0.04), "load": ("+", 0.16), "random": ("|", 0.28)}
"""Mark of each kind of units, and how far below its language's line it stands."""


def beside(
    table: pd.DataFrame,
    label: str,
    null: float,
    say: Callable[[dict[str, Any]], str],
    *,
    ratio: bool = False,
    width: float = style.WIDTH,
) -> Figure:
    """One line a language: own neurons with their interval, and a mark for every draw of controls.

    Args:
        table: Columns language, kind (own, random, matched, load), value, low, high.
        label: What the axis shows, with its unit.
        null: What no effect would give.
        say: A row in words, for under the pointer.
        ratio: Whether the values are ratios.
        width: Inches.
    """
    order = list(dict.fromkeys(table["language"]))
    kinds = [kind for kind in MARKS if (table["kind"] == kind).any()]
    figure = blank(0.85 + 0.34 * len(order), width)
    axes = figure.subplots()
    axes.axvline(null, color=style.INK, lw=0.7, zorder=0)
    for place, language in enumerate(order):
        here = table[table["language"] == language]
        for kind in kinds:
            marker, below = MARKS[kind]
            rows = here[here["kind"] == kind]
            colour, y = style.UNITS[kind], place + below
            for row in records(rows) if kind == "own" else []:
                (bar,) = axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=2)
                (dot,) = axes.plot(row["value"], y, marker, color=colour, ms=6)
                tip(dot, say(row))
                tip(bar, say(row))
            if kind == "own" or rows.empty:
                continue
            drawn = rows["value"].to_numpy(dtype=float)
            (marks,) = axes.plot(drawn, [y] * len(drawn), marker, color=colour, mew=1.4)
            far = rows.loc[(rows["value"] - null).abs().idxmax()].to_dict()
            tip(marks, f"{count(len(drawn), 'draw')}, the farthest: {say(far)}")
    top = float(np.nanmax(table[["value", "high"]].to_numpy(dtype=float)))
    if ratio and top > LOGARITHMIC:
        logarithmic(axes, "x", 1, top)
        label += ", logarithmic"
    elif ratio:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_yticks(range(len(order)), [short(name) for name in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlabel(label)
    for kind in kinds:
        marker = MARKS[kind][0]
        axes.plot([], [], marker, color=style.UNITS[kind], mew=1.4, label=style.LABELS[kind])
    figure.legend(loc="outside upper left", ncols=2 if width < style.WIDTH else 3)
    return figure


def with_controls(kinds: pd.Series) -> str:
    """The end of a caption: which controls stand beside own neurons.

    Args:
        kinds: Kinds of units drawn.
    """
    names = {
        "random": "random neurons",
        "matched": "equally active neurons",
        "load": "equally loaded experts",
    }
    found = [name for kind, name in names.items() if (kinds == kind).any()]
    if not found:
        return "; no controls were drawn"
    return f", beside as many {' and as many '.join(found)} (a mark a draw)"
