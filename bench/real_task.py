"""A task under overwrites on a real model: every cell of a finished run, against no intervention.

``langneurons run PRESET -t 'FOLDER/{lang}.txt' ...``, then ``python -m bench.real_task RUN [METRIC
...]`` prints, as Markdown, what is reached without intervention and, in points, the paired change
by each set of neurons, value and language, own units beside their controls; for classes also the
one called most often, untouched and under own units; and how many units the sets share. Without
METRIC: each task's first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bench._markdown import printed
from bench.real_puzzle import cells
from langneurons.artifacts import read_table
from langneurons.parts.tasks.comparisons import primary

TITLES = {"own": "own", "matched": "equally active", "random": "random"}


def untouched(scores: pd.DataFrame) -> list[list[str]]:
    """One row a task, adapter, language and metric."""
    plain = scores[scores["intervention"] == "none"]
    return [
        [row.task, row.adapter, row.language, row.metric, f"{row.n}",
         f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]"]
        for row in plain.itertuples()
    ]  # fmt: skip


def changes(scores: pd.DataFrame) -> list[list[str]]:
    """One row a task, metric, language, set and value; draws of a control beside each other."""
    touched = scores[scores["intervention"] != "none"]
    names = ["task", "adapter", "metric", "language", "neurons", "intervention"]
    rows = []
    for key, group in touched.groupby(names, sort=False):
        row = [*map(str, key)]
        for kind in TITLES:
            found = group[group["units"] == kind].sort_values("seed")
            row.append("; ".join(
                f"{cell.difference:+.1f} [{cell.difference_low:+.1f}, {cell.difference_high:+.1f}]"
                for cell in found.itertuples()
            ))  # fmt: skip
        own = group[group["units"] == "own"]
        row += (
            [f"{own['p_holm'].iloc[0]:.2g}", f"{own['mde'].iloc[0]:.1f}"] if len(own) else ["", ""]
        )
        rows.append(row)
    return rows


def classes(run: Path) -> list[list[str]]:
    """One row a task, adapter and language, set and value: the class called most often."""
    rows = []
    for folder in sorted((run / "scores").glob("*/*/*")):
        for (value, kind, neurons, _), scores in cells(folder).items():
            if "accuracy" in scores.metrics and (kind == "own" or value == "none"):
                called = scores.rows["prediction"].value_counts()
                most = f"{called.index[0]}, {called.iloc[0]} of {len(scores.rows)}"
                rows.append([*folder.relative_to(run / "scores").parts, neurons, value, most])
    return rows


def overlaps(run: Path, languages: Iterable[str]) -> list[list[str]]:
    """One row two sets and language: the Jaccard index of their units."""
    table = read_table(run / "overlap.parquet")
    same = table[(table["language_a"] == table["language_b"]) & table["language_a"].isin(languages)]
    return [[row.a, row.b, row.language_a, f"{row.jaccard:.2f}"]
            for row in same[same["a"] != same["b"]].itertuples()]  # fmt: skip


def main(run: Path, metrics: list[str]) -> None:
    scores = read_table(run / "tables" / "scores.parquet")
    scores = scores[scores["metric"].isin(metrics)] if metrics else primary(scores)
    printed(["task", "adapter", "language", "metric", "n", "untouched"], untouched(scores))
    columns = ["task", "adapter", "metric", "language", "neurons", "value"]
    columns += [*TITLES.values(), "own: p, Holm", "own: detectable"]
    printed(columns, changes(scores))
    touched = scores.loc[scores["intervention"] != "none", "language"].unique()
    shared = overlaps(run, touched)
    if shared:
        printed(["set", "set", "language", "Jaccard"], shared)
    called = classes(run)
    if called:
        printed(["task", "adapter", "language", "neurons", "value", "called most often"], called)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-xnli"), sys.argv[2:])
