"""Figures of the parts beyond the paper's own study."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, heat, short, tip
from langneurons.reporting.numbers import number, with_interval


def forcing(table: pd.DataFrame) -> Figure:
    """Heat map: languages switched off and on against the language detected in the output.

    Args:
        table: The ``forcing`` table; ``share`` is a fraction of the ``n`` outputs, by
            ``intervention`` (none, off, off and on) where it says so. Intervals
            under the pointer are Wilson's.
    """
    if "intervention" not in table.columns:
        table = table.assign(intervention="off and on")
    cells = ["off", "on", "intervention"]
    pairs = list(dict.fromkeys(zip(*(table[key] for key in cells), strict=True)))
    detected = list(dict.fromkeys(table["language_detected"]))
    share = np.full((len(pairs), len(detected)), np.nan)
    outputs = np.zeros(len(pairs))
    for *cell, name, value, n in zip(
        *(table[key] for key in (*cells, "language_detected", "share", "n")), strict=True
    ):
        row = pairs.index(tuple(cell))
        share[row, detected.index(name)] = float(value)
        outputs[row] = max(outputs[row], float(n))

    def say(i: int, j: int) -> str:
        value, n = share[i, j], int(outputs[i])
        ends = (np.nan, np.nan)
        if n > 0 and 0 <= value <= 1:
            ends = binomtest(round(value * n), n).proportion_ci(method="wilson")
        shown = with_interval(100 * value, 100 * ends[0], 100 * ends[1], 0)
        return f"{_switched(*pairs[i])}: {shown} % {detected[j]}"

    figure = blank(0.9 + 0.27 * len(pairs))
    axes = figure.subplots()
    heat(
        axes,
        share,
        [
            f"{_switched(short(off), short(on), how)}  (n = {number(n, 0)})"
            for (off, on, how), n in zip(pairs, outputs, strict=True)
        ],
        [short(name) for name in detected],
        opacity=lambda value: value,
        text=lambda value: number(100 * value, 0),
        tips=say,
        size=7.5,
    )
    axes.set_xlabel("language detected in the output")
    axes.set_ylabel("neurons switched")
    axes.set_title("share of the outputs, %")
    return figure


def _switched(off: str, on: str, how: str) -> str:
    """What was done, in words: ``none``, ``off`` and ``off and on`` are what a study writes."""
    if how == "none":
        return f"{off} untouched"
    return f"{off} off" + (f", {on} on" if how != "off" else "")


def fallback(table: pd.DataFrame) -> Figure:
    """Heat map: languages off, step by step, against the language detected in the output.

    Args:
        table: Rows of the ``fallback`` table with one start, own units and controls.
    """
    cells = ["step", "removed", "kind", "seed"]
    steps = [(tuple(key), group) for key, group in table.groupby(cells, sort=False)]
    detected = list(dict.fromkeys(table["language_detected"]))
    share = np.zeros((len(steps), len(detected)))
    labels, tips = [], {}
    for row, ((step, removed, kind, _), group) in enumerate(steps):
        off = f"{short(removed, 30)} off" if step else "untouched"
        if kind != "own":
            off += f", {style.LABELS.get(str(kind), str(kind)).replace(' neurons', '')} units"
        labels.append(f"{off}  (n = {number(float(group['n'].iloc[0]), 0)})")
        for line in records(group):
            column = detected.index(line["language_detected"])
            value, low, high = (100 * float(line[key]) for key in ("share", "low", "high"))
            share[row, column] = float(line["share"])
            tips[row, column] = f"{off}: {with_interval(value, low, high, 0)} % {detected[column]}"

    figure = blank(0.9 + 0.27 * len(steps))
    axes = figure.subplots()
    heat(
        axes,
        share,
        labels,
        [short(name) for name in detected],
        opacity=lambda value: value,
        text=lambda value: number(100 * value, 0),
        tips=lambda i, j: tips.get((i, j), f"{labels[i]}: 0 % {detected[j]}"),
        size=7.5,
    )
    axes.set_xlabel("language detected in the output")
    axes.set_ylabel("languages switched off")
    axes.set_title("share of the outputs, %")
    return figure


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
