"""How an effect grows with the value written."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, logarithmic, short, tip
from langneurons.reporting.numbers import with_interval


def sweep(table: pd.DataFrame) -> Figure:
    """Perplexity ratio against the value written, a curve with a band for each kind of units.

    Args:
        table: Rows of the ``sweep`` table with one language.
    """
    values = list(dict.fromkeys(table["value"]))
    numeric = pd.to_numeric(pd.Series(values), errors="coerce")
    at = dict(zip(values, numeric if numeric.notna().all() else range(len(values)), strict=True))
    figure = blank(2.6)
    axes = figure.subplots()
    axes.axhline(1, color=style.INK, lw=0.7)
    several = table["units"].nunique() > 1
    series = list(table.groupby(["kind", "units"], sort=False))
    for order, ((kind, units), group) in enumerate(series):
        rows = group.assign(at=group["value"].map(at)).sort_values("at")
        rows = rows.groupby("at", as_index=False).agg(
            {"ratio": "mean", "low": "min", "high": "max", "value": "first"}
        )
        colour, marker = style.series(order)
        label = style.LABELS.get(str(kind), short(kind))
        if several:
            label += f", {short(units)}"
        else:
            colour = style.UNITS.get(str(kind), colour)
        axes.fill_between(rows["at"], rows["low"], rows["high"], color=colour, alpha=0.18, lw=0)
        axes.plot(rows["at"], rows["ratio"], color=colour, lw=1.4, label=label)
        for row in records(rows):
            (dot,) = axes.plot(row["at"], row["ratio"], marker, color=colour, ms=4)
            ratio = with_interval(row["ratio"], row["low"], row["high"], 3)
            tip(dot, f"{label}, {row['value']}: ×{ratio}")
    if numeric.notna().all():
        axes.xaxis.set_major_locator(MaxNLocator(8))
    else:
        axes.set_xticks(list(at.values()), [str(value) for value in at])
    axes.set_xlabel("value written")
    axes.set_ylabel("perplexity ratio")
    top = float(table["high"].max())
    if top > 10:
        logarithmic(axes, "y", 1, top)
        axes.set_ylabel("perplexity ratio, logarithmic")
    if not several:
        axes.set_title(f"n: {short(table['units'].iloc[0])} of all units")
    figure.legend(loc="outside upper left", ncols=2 if several else 3)
    return figure
