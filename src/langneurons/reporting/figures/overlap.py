"""How much two neuron sets, or two languages of one set, have in common."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting import style
from langneurons.reporting.aggregate import expected_jaccard, records, same_language
from langneurons.reporting.figures.canvas import blank, heat, short, tip
from langneurons.reporting.numbers import number, p_value


def languages(overlap: pd.DataFrame) -> Figure:
    """Jaccard index of every pair of languages, for one pair of neuron sets.

    Args:
        overlap: Rows of the ``overlap`` table with one value each of ``a`` and ``b``.
    """
    table = overlap.assign(expected_jaccard=expected_jaccard(overlap))
    itself = bool((table["a"] == table["b"]).all())
    if itself:  # each pair stands once; mirror it
        turned = table.rename(
            columns={
                "language_a": "language_b",
                "language_b": "language_a",
                "size_a": "size_b",
                "size_b": "size_a",
            }
        )
        table = pd.concat([table, turned]).drop_duplicates(["language_a", "language_b"])
    rows, columns = (list(dict.fromkeys(table[key])) for key in ("language_a", "language_b"))
    if itself:
        rows = columns = list(dict.fromkeys([*rows, *columns]))
    cells = table.set_index(["language_a", "language_b"])
    values = np.full((len(rows), len(columns)), np.nan)
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            if (a, b) in cells.index and not (itself and a == b):
                values[i, j] = cells.loc[(a, b), "jaccard"]
    top = max(0.2, float(np.nanmax(values, initial=0)))  # a small overlap has to look small

    def say(i: int, j: int) -> str:
        row = cells.loc[(rows[i], columns[j])]
        return (
            f"{rows[i]} and {columns[j]}: {number(row['shared'], 0)} shared of "
            f"{number(row['size_a'], 0)} and {number(row['size_b'], 0)}, Jaccard "
            f"{number(row['jaccard'], 3)} (by chance {number(row['expected_jaccard'], 3)}), "
            f"p = {p_value(row['p_value'])}"
        )

    figure = blank(0.9 + 0.42 * len(rows), min(style.WIDTH, 1.5 + 0.42 * len(columns)))
    axes = figure.subplots()
    heat(
        axes,
        values,
        [short(name) for name in rows],
        [short(name) for name in columns],
        opacity=lambda value: value / top,
        text=lambda value: "0" if value == 0 else "<.01" if value < 0.005 else number(value, 2),
        tips=say,
        size=7.5 if len(columns) <= 10 else 6,
    )
    axes.set_ylabel(short(table["a"].iloc[0], 40))
    axes.set_xlabel(short(table["b"].iloc[0], 40))
    axes.set_title("Jaccard index")
    return figure


def chance(overlap: pd.DataFrame) -> Figure:
    """Overlap of two neuron sets for each language beside what chance would give.

    Args:
        overlap: Rows of the ``overlap`` table with one value each of ``a`` and ``b``, different.
    """
    table = same_language(overlap)
    figure = blank(0.9 + 0.24 * len(table))
    axes = figure.subplots()
    for place, row in enumerate(records(table)):
        axes.plot(
            [row["expected_jaccard"], row["jaccard"]],
            [place, place],
            color=style.GREY,
            lw=1,
            zorder=1,
        )
        (dot,) = axes.plot(row["jaccard"], place, "o", color=style.BLUE, ms=6, clip_on=False)
        axes.plot(row["expected_jaccard"], place, "|", color=style.VERMILLION, ms=11, mew=2)
        tip(
            dot,
            f"{row['language_a']}: {number(row['shared'], 0)} shared of "
            f"{number(row['size_a'], 0)} and {number(row['size_b'], 0)}; "
            f"expected {number(row['expected'], 1)}; "
            f"p = {p_value(row['p_adjusted'])} (Bonferroni)",
        )
    names = [
        f"{short(row['language_a'])}  ({number(row['size_a'], 0)} | {number(row['size_b'], 0)})"
        for row in records(table)
    ]
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("Jaccard index (units of the first | of the second set)")
    axes.plot([], [], "o", color=style.BLUE, label="measured")
    axes.plot([], [], "|", color=style.VERMILLION, ms=11, mew=2, label="expected by chance")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
