"""What fine-tuning only some units gives, language by language."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from langneurons.parts.adapters.comparisons import target_of
from langneurons.parts.tasks.comparisons import baselines, over_seeds
from langneurons.reporting import style
from langneurons.reporting.aggregate import records
from langneurons.reporting.figures.canvas import blank, short, tip
from langneurons.reporting.numbers import number, with_interval


def adapters(scores: pd.DataFrame) -> Figure:
    """Scores of every adapter without intervention, with intervals and the level of guessing.

    Args:
        scores: Rows of the ``scores`` table with one task and metric.
    """
    table = baselines(over_seeds(scores))
    table = table.assign(
        choice=[
            target_of(str(name), str(lang))
            for name, lang in zip(table["adapter"], table["language"], strict=True)
        ]
    )
    table = table[~table["choice"].str.contains(":", regex=False)]
    languages = list(dict.fromkeys(table["language"]))
    choices = list(dict.fromkeys(table["choice"]))
    figure = blank(1.0 + 0.13 * len(languages) * (len(choices) + 1.2))
    axes = figure.subplots()
    step = 0.8 / max(1, len(choices))
    for order, choice in enumerate(choices):
        colour, marker = style.series(order)
        rows = table[table["choice"] == choice]
        for row in records(rows):
            y = languages.index(row["language"]) - 0.4 + step * (order + 0.5)
            axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.4)
            (dot,) = axes.plot(row["value"], y, marker, color=colour, ms=5)
            score = with_interval(row["value"], row["low"], row["high"], 1)
            tip(
                dot,
                f"{row['language']}, {choice}: {score} % "
                f"(n = {number(row['n'], 0)}, {row['seeds']} seed(s))",
            )
        axes.plot([], [], marker, color=colour, label=short(choice))
    guess = table["chance"].dropna()
    if len(guess):
        axes.axvline(guess.iloc[0], color=style.INK, lw=0.8, ls="--", label="guessing")
    sizes = table.groupby("language")["n"].max()
    axes.set_yticks(
        range(len(languages)),
        [f"{short(name)}  (n = {number(sizes[name], 0)})" for name in languages],
    )
    axes.set_ylim(len(languages) - 0.5, -0.5)
    metric = str(table["metric"].iloc[0]).replace("_", " ")
    axes.set_xlabel(f"{metric}, %")
    figure.legend(loc="outside upper left", ncols=min(5, len(choices) + 1))
    return figure
