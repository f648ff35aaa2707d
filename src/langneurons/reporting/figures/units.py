"""Activity of units: a language's layers, one unit's distribution, and one evaluation's scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, heat, short, thin, tip
from langneurons.reporting.numbers import number, with_interval


def activity(rates: Mapping[str, np.ndarray], tokens: Mapping[str, int]) -> Figure:
    """Heat map: share of tokens above 0, mean over a layer's units, by language and layer.

    Args:
        rates: Language to float (layers,), in 0..1.
        tokens: Language to counted tokens.
    """
    cells = 100 * np.stack(list(rates.values()))
    names = list(rates)
    top = max(float(cells.max()), 1e-9)
    figure = blank(0.9 + 0.27 * len(names))
    axes = figure.subplots()
    heat(
        axes,
        cells,
        [f"{short(name)}  (n = {number(tokens[name], 0)})" for name in names],
        thin([str(layer) for layer in range(cells.shape[1])], 20),
        opacity=lambda value: value / top,
        text=(lambda value: number(value, 0)) if cells.shape[1] <= 18 else None,
        tips=lambda i, j: f"{names[i]}, layer {j}: {number(float(cells[i, j]), 1)} %",
        size=7.5,
    )
    axes.set_xlabel("layer")
    axes.set_title("tokens with an activation above 0, %")
    return figure


def unit(rows: Mapping[str, np.ndarray], rates: Mapping[str, float], bins: int = 40) -> Figure:
    """Distribution of one unit's activation in each language, one ridge a language.

    Args:
        rows: Language to activations on sampled tokens, float (n,).
        rates: Language to the share of all tokens above 0.
        bins: Bins from the smallest to the largest value, all but 0.1 % at either end.
    """
    present = {lang: values for lang, values in rows.items() if len(values)}
    ends = [np.quantile(values, [0.001, 0.999]) for values in present.values()]
    low, high = min(pair[0] for pair in ends), max(pair[1] for pair in ends)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = {
        lang: np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
        for lang, values in present.items()
    }
    most = max(float(share.max()) for share in shares.values())
    figure = blank(0.8 + 0.36 * len(present))
    axes = figure.subplots()
    for place, (lang, share) in enumerate(shares.items()):
        height = 0.85 * np.sqrt(share / most)
        band = axes.stairs(place - height, edges, baseline=place, fill=True, color=style.BLUE)
        band.set_alpha(0.6)
        middle = np.quantile(present[lang], [0.05, 0.5, 0.95])
        axes.plot(middle[[0, 2]], [place + 0.08] * 2, color=style.INK, lw=0.8)
        (dot,) = axes.plot(middle[1], place + 0.08, "o", color=style.INK, ms=3.5)
        tip(
            dot,
            f"{lang}: median {number(middle[1], 3)}, 5 to 95 %: {number(middle[0], 3)} to "
            f"{number(middle[2], 3)}",
        )
    if low < 0 < high:
        axes.axvline(0, color=style.INK, lw=0.6, ls=":")
    axes.set_yticks(
        range(len(present)),
        [f"{short(lang)}  (n = {number(len(values), 0)})" for lang, values in present.items()],
    )
    axes.set_ylim(len(present) - 0.6, -1.0)
    axes.tick_params(axis="y", length=0)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(present)), [f"{number(100 * rates[lang], 1)} %" for lang in present])
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    axes.set_xlabel("activation (dot: median; line: 5 to 95 %)")
    axes.set_title("right: tokens above 0", loc="right")
    return figure


def metrics(levels: pd.DataFrame) -> Figure:
    """Scores of one evaluation with intervals, beside guessing.

    Args:
        levels: metric, value, low, high, chance (%), n.
    """
    figure = blank(0.7 + 0.3 * len(levels))
    axes = figure.subplots()
    for place, row in enumerate(records(levels)):
        axes.plot([row["low"], row["high"]], [place, place], color=style.BLUE, lw=1.6)
        (dot,) = axes.plot(row["value"], place, "o", color=style.BLUE, ms=6)
        tip(dot, f"{row['metric']}: {with_interval(row['value'], row['low'], row['high'], 1)} %")
        axes.plot([row["chance"]] * 2, [place - 0.3, place + 0.3], color=style.VERMILLION, lw=1.6)
    axes.plot([], [], color=style.VERMILLION, lw=1.6, label="guessing")
    axes.set_yticks(range(len(levels)), list(levels["metric"]))
    axes.set_ylim(len(levels) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"score, %  (n = {number(levels['n'].max(), 0)})")
    figure.legend(loc="outside upper right")
    return figure
