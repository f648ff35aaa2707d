"""Where a language's neurons lie: language by layer."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting.figures.canvas import blank, heat, short, thin
from langneurons.reporting.numbers import number


def layers(neurons: pd.DataFrame) -> Figure:
    """Heat map of one neuron set: share of each layer's units that belong to each language.

    Args:
        neurons: Rows of the ``neurons`` table with one value of ``neurons``.
    """
    units = neurons.pivot_table(
        index="language", columns="layer", values="units", aggfunc="sum", sort=False
    ).sort_index(axis=1)
    total = neurons.groupby("layer")["total"].first().reindex(units.columns)
    share = 100 * units / total
    counts, sizes = units.to_numpy(dtype=float), total.to_numpy(dtype=float)
    cells = share.to_numpy(dtype=float)
    top = float(share.max().max()) or 1.0
    names = [f"{short(lang)}  (n = {number(units.loc[lang].sum(), 0)})" for lang in units.index]
    figure = blank(0.9 + 0.27 * len(units))
    axes = figure.subplots()
    few = units.shape[1] <= 14
    heat(
        axes,
        cells,
        names,
        thin([str(layer) for layer in units.columns], 20),
        opacity=lambda value: value / top,
        text=(lambda value: number(value, 1)) if few else None,
        tips=lambda i, j: (
            f"{units.index[i]}, layer {units.columns[j]}: {number(counts[i, j], 0)} of "
            f"{number(sizes[j], 0)} units ({number(cells[i, j], 2)} %)"
        ),
        size=7.5,
    )
    axes.set_xlabel("layer")
    axes.set_title(f"share of the layer's units, %  (darkest: {number(top, 2)} %)")
    return figure
