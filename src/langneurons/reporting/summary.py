"""Finished runs side by side: every change on a task, and what holds over their trainings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from langneurons.artifacts import read_table
from langneurons.errors import InputError
from langneurons.evaluation import holm
from langneurons.evaluation.items import gather_items, most_called
from langneurons.evaluation.seeds import spread
from langneurons.reporting.aggregate import CONTROLS
from langneurons.reporting.tables import Column, Table

_TOGETHER = {
    "specificity": ("Neuron sets", "How far each set's perplexity change is a language's own."),
    "adapter_seeds": ("Adapters against references", "Differences over seeds, in points."),
    "adapter_sets": ("All chosen sets at once", "Whether it matters whose units learn."),
    "planning": ("What one point would take", "Size at which one point or percent is found."),
    "crossed_scores": ("Crossed against right site", "Points, paired, interval over groups."),
    "answers": ("Answers in another language", "Change in points, paired, interval over groups."),
    "enhancement_against": (
        "Training a language's own weights, against each other arm",
        "Loss with own units less that with the arm, nats a token; intervals over seeds.",
    ),
    "enhancement": ("Perplexity after training on text", "Ratio to before, over documents."),
    "enhancement_transfer": ("Transfer after training on text", "Points, over seeds."),
    "enhancement_rates": ("Learning rates tried", "Loss on text apart, nats a token."),
    "enhancement_seeds": ("Single trainings on text", "Perplexity before and after."),
    "task_changes": ("Other changes on the task", "Change in points against none, paired."),
    "steering": ("What steers a language", "Intervals over questions; perplexity as ratios."),
    "steering_choice": ("Steering: settings tried", "On the questions kept for choosing."),
}
"""Tables of runs that are put one under the other, with title and caption."""

ITEMS = ("items", "steering_answers", "enhancement_items")
"""Tables of single examples: kept beside a record, not shown in it."""

_METRICS = ("accuracy", "f1", "exact_match")
_CELL = ["task", "metric", "language", "neurons", "value"]


def summarise(runs: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """Tables over several runs.

    Args:
        runs: Name to run directory.

    Returns:
        ``untouched`` (scores without intervention), ``changes`` (every change against none, own
        units and each draw of controls), ``over_trainings`` (see :func:`over_trainings`),
        ``most_called`` (see :func:`~langneurons.evaluation.items.most_called`), ``items`` (see
        :func:`~langneurons.evaluation.items.gather_items`) and tables of the runs themselves, all
        with the column ``run``; what no run has is left out.

    Raises:
        InputError: If no run has any of them.
    """
    scores = _together(runs, "scores")
    found = {"untouched": untouched(scores), "changes": changes(scores)}
    found["over_trainings"] = over_trainings(found["changes"])
    scored = {run: path for run, path in runs.items() if (path / "scores").is_dir()}
    kept = [gather_items(path).assign(run=run) for run, path in scored.items()]
    items = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
    called = [most_called(part).assign(run=run) for part, run in zip(kept, scored, strict=True)]
    found["most_called"] = pd.concat(called, ignore_index=True) if called else pd.DataFrame()
    found |= {name: _together(runs, name) for name in (*_TOGETHER, *ITEMS[1:])}
    found["items"] = items
    found = {name: table for name, table in found.items() if len(table)}
    if not found:
        raise InputError(
            f"{', '.join(runs)}: no tables to sum up; give finished runs of studies with "
            "perplexity or tasks."
        )
    return found


def _together(runs: Mapping[str, Path], name: str) -> pd.DataFrame:
    paths = {run: path / "tables" / f"{name}.parquet" for run, path in runs.items()}
    tables = [read_table(path).assign(run=run) for run, path in paths.items() if path.is_file()]
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def untouched(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a run, task, adapter, seed, language and metric without intervention.

    Args:
        scores: ``scores`` tables of runs, with ``run``.
    """
    if scores.empty:
        return scores
    plain = scores[scores["intervention"] == "none"]
    names = ["run", "task", "adapter", "seed", "language", "metric", "n", "value", "low", "high"]
    return plain[names].reset_index(drop=True)


def changes(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a cell under an intervention, on the task's first metric.

    Args:
        scores: ``scores`` tables of runs, with ``run``.

    Returns:
        ``run``, ``task``, ``adapter``, ``metric``, ``language``, ``neurons``, ``value`` (what was
        written), ``units`` (own or a control), ``seed`` (its draw), ``difference`` in points with
        ``low`` and ``high``, ``p_holm`` (within the run) and ``mde``.
    """
    if scores.empty:
        return scores
    first = {
        task: next((name for name in _METRICS if name in set(part)), part.iloc[0])
        for task, part in scores.groupby("task")["metric"]
    }
    touched = scores[
        (scores["intervention"] != "none") & (scores["metric"] == scores["task"].map(first))
    ]
    touched = touched.drop(columns=["value", "low", "high"]).rename(
        columns={"intervention": "value", "difference_low": "low", "difference_high": "high"}
    )
    names = ["run", "task", "adapter", "metric", "language", "neurons", "value", "units", "seed",
             "difference", "low", "high", "p_holm", "mde"]  # fmt: skip
    return touched[names].reset_index(drop=True)


def over_trainings(changes: pd.DataFrame) -> pd.DataFrame:
    """What holds over trainings: own units, controls, and own less controls, by t tests.

    A training counts once: the draws of a control are averaged. One training has no interval and
    no p; Holm's correction runs over all rows with one.

    Args:
        changes: What :func:`changes` gives.

    Returns:
        One row a task, metric, language, neuron set, value and control: ``trainings``, ``own`` with
        ``own_low`` and ``own_high``, ``controls`` (mean), ``apart`` (own less control) with
        ``apart_low`` and ``apart_high``, ``p_value`` and ``p_holm``.
    """
    from scipy.stats import ttest_1samp

    rows: list[dict[str, object]] = []
    for key, part in changes.groupby(_CELL, sort=False) if len(changes) else ():
        wide = part.pivot_table("difference", ["run", "adapter"], "units", aggfunc="mean")
        if "own" not in wide:
            continue
        own = spread(wide["own"].dropna())
        row = {**dict(zip(_CELL, key, strict=True)), "trainings": own.seeds, "own": own.mean,
               "own_low": own.low, "own_high": own.high}  # fmt: skip
        beside = [kind for kind in CONTROLS if kind in wide]
        for kind in beside:
            apart = (wide["own"] - wide[kind]).dropna()
            if apart.empty:
                continue
            found = spread(apart)
            tested = found.seeds > 1 and found.std > 0
            rows.append(
                {
                    **row,
                    "control": kind,
                    "controls": float(wide[kind].mean()),
                    "apart": found.mean,
                    "apart_low": found.low,
                    "apart_high": found.high,
                    "p_value": float(ttest_1samp(apart, 0).pvalue) if tested else float("nan"),
                }
            )
        if not beside:
            rows.append({**row, "control": "none"})
    table = pd.DataFrame(rows)
    if "p_value" in table:
        known = table["p_value"].notna()
        table.loc[known, "p_holm"] = holm(table.loc[known, "p_value"])
    return table


def shown(tables: Mapping[str, pd.DataFrame]) -> list[Table]:
    """The tables as they are read: what :func:`summarise` gives, but for the items."""
    from langneurons.reporting.tables.plain import plain

    made = []
    for name, table in tables.items():
        if name in _SHOWN:
            title, caption, columns = _SHOWN[name]
            present = [column for column in columns if column.key in table]
            made.append(Table(name, title, caption, table, present))
        elif name in _TOGETHER:
            front = table[["run", *(key for key in table if key != "run")]]
            made.append(plain(front, name, *_TOGETHER[name]))
    return made


def _names(*keys: str) -> list[Column]:
    return [Column(key, key.replace("_", " ")) for key in keys]


_SHOWN = {
    "steering": (
        "What steers a language",
        "Intervals over questions; perplexity of text under the same steering as a ratio.",
        [
            *_names("run", "language", "way", "kind"),
            Column("seed", "draw", "count"),
            *_names("layer", "strength"),
            Column("n", "n", "count"),
            Column("forcing", "forcing", "number", 3, ("forcing_low", "forcing_high")),
            Column("relevance", "relevance", "number", 3, ("relevance_low", "relevance_high")),
            Column("chance", "of another question", "number", 3),
            Column("score", "harmonic mean", "number", 3, ("score_low", "score_high")),
            Column("target_ratio", "target text", "number", 3, ("target_low", "target_high")),
            Column("source_ratio", "source text", "number", 3, ("source_low", "source_high")),
        ],
    ),
    "untouched": (
        "Without intervention",
        "Scores in %, intervals over groups of examples.",
        [
            *_names("run", "task", "adapter"),
            Column("seed", "seed", "count"),
            *_names("language", "metric"),
            Column("n", "n", "count"),
            Column("value", "score, %", "number", 1, ("low", "high")),
        ],
    ),
    "changes": (
        "Changes against no intervention",
        "Points, paired, intervals over groups of examples; p corrected by Holm within a run and "
        "task; detectable: with 80 % power.",
        [
            *_names("run", "task", "adapter", "language", "neurons", "value", "units"),
            Column("seed", "draw", "count"),
            Column("difference", "points", "number", 1, ("low", "high"), True),
            Column("p_holm", "p, Holm", "p"),
            Column("mde", "detectable", "number", 1),
        ],
    ),
    "over_trainings": (
        "Over trainings",
        "Points against no intervention, mean over trainings with t interval; the draws of a "
        "control are averaged; p of own less control, t test over trainings.",
        [
            *_names("task", "language", "neurons", "value"),
            Column("trainings", "trainings", "count"),
            Column("own", "own", "number", 1, ("own_low", "own_high"), True),
            *_names("control"),
            Column("controls", "control, mean", "number", 1, None, True),
            Column("apart", "own less control", "number", 1, ("apart_low", "apart_high"), True),
            Column("p_value", "p", "p"),
            Column("p_holm", "p, Holm", "p"),
        ],
    ),
    "most_called": (
        "Class given most often",
        "A classifier that gives one class to every example is at the floor.",
        [
            *_names("run", "cell", "most"),
            Column("times", "times", "count"),
            Column("n", "of", "count"),
        ],
    ),
}
