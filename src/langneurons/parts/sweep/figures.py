"""How an effect grows with the value written, the share of units, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, logarithmic, short, tip
from langneurons.reporting.numbers import with_interval

_AXES = {
    "value": "value written",
    "share": "share of all units that the method takes, logarithmic",
    "layers": "layers overwritten",
}


@dataclass(frozen=True)
class _Quantity:
    """What a panel shows: its columns, the text behind a number, and digits."""

    name: str
    low: str
    high: str
    before: str
    after: str
    digits: int


_RATIO = _Quantity("ratio", "low", "high", "×", "", 3)
_SCORE = _Quantity("score", "score_low", "score_high", "", " %", 1)


def sweep(table: pd.DataFrame) -> Figure:
    """Perplexity ratio, and a task's metric below it, along an axis, a curve a kind of units.

    Args:
        table: Rows of the ``sweep`` table with one language, one ``axis`` (``value``, where the
            column is missing) and, along shares and layers, one value.
    """
    axis = str(table["axis"].iloc[0]) if "axis" in table.columns else "value"
    place = "value" if axis == "value" else "point"
    at, ticks = _positions(axis, list(dict.fromkeys(table[place])))
    scored = "score" in table.columns and table["score"].notna().any()
    figure = blank(4.4 if scored else 2.6)
    panels = figure.subplots(2 if scored else 1, sharex=True, squeeze=False)[:, 0]
    several = axis == "value" and table["units"].nunique() > 1
    _curves(panels[0], table, table[place].map(at), place, _RATIO, several)
    panels[0].axhline(1, color=style.INK, lw=0.7)
    panels[0].set_ylabel("perplexity ratio")
    top = float(table["high"].max())
    if top > 10:
        logarithmic(panels[0], "y", min(1.0, float(table["low"].min())), top)
        panels[0].set_ylabel("perplexity ratio, logarithmic")
    if scored:
        _curves(panels[1], table, table[place].map(at), place, _SCORE, several)
        panels[1].axhline(float(table["untouched"].iloc[0]), color=style.INK, lw=0.7)
        panels[1].set_ylabel(f"{table['task'].iloc[0]}, {table['metric'].iloc[0]} %")
    last = panels[-1]
    if axis == "share":
        last.set_xscale("log")
        last.xaxis.set_minor_locator(NullLocator())
    if ticks is None:
        last.xaxis.set_major_locator(MaxNLocator(8))
    else:
        last.set_xticks(list(ticks.values()), [str(value) for value in ticks])
    last.set_xlabel(_AXES[axis])
    if not several:
        panels[0].set_title(_title(table, axis))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2 if several else 3)
    return figure


def _title(table: pd.DataFrame, axis: str) -> str:
    if axis == "value":
        return f"n: {short(table['units'].iloc[0])} of all units"
    own = table[table["kind"] == "own"].drop_duplicates("point")
    sizes = ", ".join(short(count) for count in own["count"])
    return f"value written: {short(table['value'].iloc[0])}; n: {sizes} units"


def _positions(
    axis: str, labels: list[object]
) -> tuple[dict[object, float], dict[object, float] | None]:
    """Where each label stands, and the ticks (None: numbers of their own)."""
    words = pd.Series([str(label) for label in labels])
    if axis == "share":
        at = dict(zip(labels, words.str.removesuffix(" %").astype(float), strict=True))
        return at, at
    numeric = pd.to_numeric(words, errors="coerce")
    if axis == "value" and numeric.notna().all():
        return dict(zip(labels, numeric, strict=True)), None
    at = {label: float(number) for number, label in enumerate(labels)}
    return at, at


def _curves(
    axes: Axes,
    table: pd.DataFrame,
    at: pd.Series,
    place: str,
    shown: _Quantity,
    several: bool,
) -> None:
    """A curve with a band for each kind of units; draws of a control by mean and envelope."""
    for order, (kind, units, group) in enumerate(_series(table, several)):
        rows = group.assign(at=at.loc[group.index]).sort_values("at")
        rows = rows.groupby("at", as_index=False).agg(
            {shown.name: "mean", shown.low: "min", shown.high: "max", place: "first"}
        )
        colour, marker = style.series(order)
        label = style.LABELS.get(kind, short(kind))
        if several:
            label += f", {short(units)}"
        else:
            colour = style.UNITS.get(kind, colour)
        axes.fill_between(
            rows["at"], rows[shown.low], rows[shown.high], color=colour, alpha=0.18, lw=0
        )
        axes.plot(rows["at"], rows[shown.name], color=colour, lw=1.4, label=label)
        for row in records(rows):
            (dot,) = axes.plot(row["at"], row[shown.name], marker, color=colour, ms=4)
            number = with_interval(row[shown.name], row[shown.low], row[shown.high], shown.digits)
            tip(dot, f"{label}, {row[place]}: {shown.before}{number}{shown.after}")


def _series(table: pd.DataFrame, several: bool) -> Iterator[tuple[str, str, pd.DataFrame]]:
    if several:
        for (kind, units), group in table.groupby(["kind", "units"], sort=False):
            yield str(kind), str(units), group
        return
    for kind, group in table.groupby("kind", sort=False):
        yield str(kind), "", group
