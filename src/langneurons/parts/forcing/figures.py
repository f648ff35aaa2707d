"""The language of the output with neurons switched off and on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest

from langneurons.reporting.figures.canvas import blank, heat, short
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
