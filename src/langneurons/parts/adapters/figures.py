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


def supervision(table: pd.DataFrame) -> Figure:
    """Score over the number of examples of the language itself, a line a choice of units.

    Args:
        table: Rows of the ``supervision`` table with one task, metric and language; several seeds
            are shown by their mean and the envelope of their intervals.
    """
    kind = ["units", "attention", "held"]
    points = table.groupby([*kind, "shots"], sort=False, as_index=False).agg(
        value=("value", "mean"), low=("low", "min"), high=("high", "max"), seeds=("seed", "size"),
        n=("n", "max"),
    )  # fmt: skip
    counts = sorted(points["shots"].unique())
    figure = blank(3.2)
    axes = figure.subplots()
    for order, (key, rows) in enumerate(points.groupby(kind, sort=False)):
        colour, marker = style.series(order)
        rows = rows.sort_values("shots")
        units, attention, held = key
        name = short(str(units)) + ("" if attention else ", no attention")
        name += "" if held == "-" else f", {short(str(held))} held"
        # Examples grow by factors: equal steps, each with its number.
        places = [counts.index(count) + 0.06 * order for count in rows["shots"]]
        axes.plot(places, rows["value"], color=colour, lw=1.2)
        for place, row in zip(places, records(rows), strict=True):
            axes.plot([place, place], [row["low"], row["high"]], color=colour, lw=1)
            (dot,) = axes.plot(place, row["value"], marker, color=colour, ms=5)
            score = with_interval(row["value"], row["low"], row["high"], 1)
            tip(
                dot,
                f"{name}, {row['shots']} examples: {score} % "
                f"(n = {number(row['n'], 0)}, {row['seeds']} seed(s))",
            )
        axes.plot([], [], marker, color=colour, label=name)
    guess = table["chance"].dropna()
    if len(guess):
        axes.axhline(guess.iloc[0], color=style.INK, lw=0.8, ls="--", label="guessing")
    axes.set_xticks(range(len(counts)), [number(count, 0) for count in counts])
    axes.set_xlabel(f"training examples in {table['language'].iloc[0]}")
    axes.set_ylabel(f"{str(table['metric'].iloc[0]).replace('_', ' ')}, %")
    figure.legend(loc="outside upper left", ncols=3)
    return figure
