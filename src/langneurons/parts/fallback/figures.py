"""The language of the output, language after language switched off."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, heat, short
from langneurons.reporting.numbers import number, with_interval


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
