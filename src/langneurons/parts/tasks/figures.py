"""What overwriting neurons does to a task."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from langneurons.parts.tasks.comparisons import over_seeds
from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, short, tip
from langneurons.reporting.numbers import number, with_interval


def differences(scores: pd.DataFrame) -> Figure:
    """Change against no intervention, one panel a language: own neurons beside controls.

    Args:
        scores: Rows of the ``scores`` table with one task, adapter and metric.
    """
    table = over_seeds(scores)
    table = table[table["intervention"] != "none"]
    languages = list(dict.fromkeys(table["language"]))
    values = list(dict.fromkeys(table["intervention"]))
    sets = list(dict.fromkeys(table.loc[table["units"] == "own", "neurons"]))
    colours = {name: style.series(place)[0] for place, name in enumerate(sets)}
    series = [("own", name) for name in sets]
    series += [(kind, None) for kind in ("random", "matched") if (table["units"] == kind).any()]
    marks = [
        style.series(order)[1] if kind == "own" else {"random": "|"}.get(kind, "x")
        for order, (kind, _) in enumerate(series)
    ]
    step = 0.8 / max(1, len(series))
    columns = min(3, len(languages))
    lines = math.ceil(len(languages) / columns)
    figure = blank(0.8 + lines * (0.5 + 0.25 * len(values) * max(1.0, len(series) / 2.5)))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(panels.flat):
        if place >= len(languages):
            axes.set_visible(False)
            continue
        here = table[table["language"] == languages[place]]
        reach = here["mde"].median()
        if not math.isnan(reach):
            axes.axvspan(-reach, reach, color=style.GREY, alpha=0.14, lw=0)
        axes.axvline(0, color=style.INK, lw=0.7)
        for order, (kind, name) in enumerate(series):
            rows = here[here["units"] == kind]
            if name is not None:
                rows = rows[rows["neurons"] == name]
            colour = colours.get(name or "", style.UNITS[kind])
            for row in records(rows):
                y = values.index(row["intervention"]) - 0.4 + step * (order + 0.5)
                low, high = row["difference_low"], row["difference_high"]
                axes.plot([low, high], [y, y], color=colour, lw=1.2)
                (dot,) = axes.plot(
                    row["difference"], y, marks[order], color=colour, ms=4.5, mew=1.3
                )
                label = f"{name}, own neurons" if name else style.LABELS[kind]
                tip(
                    dot,
                    f"{languages[place]}, {row['intervention']}, {label}: "
                    f"{with_interval(row['difference'], low, high, 1, signed=True)} points "
                    f"(n = {number(row['n'], 0)})",
                )
        size = here["n"].max()
        axes.set_title(f"{short(languages[place])}  (n = {number(size, 0)})")
        axes.set_yticks(range(len(values)), [short(value) for value in values])
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
    for axes in panels.flat[max(0, len(languages) - columns) : len(languages)]:
        axes.tick_params(labelbottom=True)  # the lowest panel of its column
    figure.supxlabel("difference against no intervention, points", fontsize=9)
    handles = [
        panels[0, 0].plot(
            [],
            [],
            marks[order],
            color=colours.get(name or "", style.UNITS[kind]),
            mew=1.3,
            label=f"{short(name)}, own neurons" if name else style.LABELS[kind],
        )[0]
        for order, (kind, name) in enumerate(series)
    ]
    if table["mde"].notna().any():
        handles.append(
            panels[0, 0].axvspan(
                math.nan, math.nan, color=style.GREY, alpha=0.2, lw=0, label="below detection"
            )
        )
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure
