"""From one row per seed to one row per comparison, and which comparison may be read how.

Rule for several seeds: the mean is shown, its interval is the envelope of the seeds' intervals,
and a p-value is the largest of the seeds': a finding has to hold in every seed.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from langneurons.reporting.aggregate import CONTROLS, LEVEL
from langneurons.reporting.inputs import Run

KEYS = ["task", "adapter", "language", "metric", "intervention", "units", "neurons"]
PRIMARY = ("accuracy", "f1", "exact_match")
"""The metric a task is judged by: the first of these it has (the others are in the tables)."""


def trained_on(run: Run) -> list[str]:
    """Languages of the training data, sorted: scores on them are no transfer.

    None where the model was tested as it is.
    """
    table = run.table("finetuning")
    found = set() if table is None else {str(lang) for lang in table["train_language"].dropna()}
    stages = [str(stage["name"]) for stage in run.info.get("stages", ())]
    trained = not stages or any(name.startswith("finetune/") for name in stages)
    named = run.info.get("train_language") if trained else None
    return sorted(found | ({str(named)} if named and run.table("scores") is not None else set()))


def over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per task, adapter, language, metric, intervention, units and neuron set.

    Args:
        scores: The ``scores`` table, one row per seed.

    Returns:
        The same columns without ``seed``, plus ``seeds`` (how many rows), ``difference_max`` and
        ``difference_min`` over them.
    """
    grouped = scores.groupby(KEYS, dropna=False, sort=False)
    return grouped.agg(
        n=("n", "max"),
        value=("value", "mean"),
        low=("low", "min"),
        high=("high", "max"),
        difference=("difference", "mean"),
        difference_low=("difference_low", "min"),
        difference_high=("difference_high", "max"),
        difference_min=("difference", "min"),
        difference_max=("difference", "max"),
        p_value=("p_value", "max"),
        p_holm=("p_holm", "max"),
        mde=("mde", "max"),
        chance=("chance", "first"),
        seeds=("value", "size"),
    ).reset_index()


def primary(table: pd.DataFrame) -> pd.DataFrame:
    """Only the rows of each task's primary metric."""
    rank = {name: place for place, name in enumerate(PRIMARY)}
    best = {
        task: min(map(str, group["metric"].unique()), key=lambda m: (rank.get(m, len(rank)), m))
        for task, group in table.groupby("task", sort=False)
    }
    return table[table["metric"] == table["task"].map(best)]


def baselines(table: pd.DataFrame) -> pd.DataFrame:
    """Rows without intervention, with ``at_chance``: the interval does not lie above guessing."""
    rows = table[table["intervention"] == "none"].copy()
    rows["at_chance"] = (rows["low"] <= rows["chance"]).fillna(False).astype(bool)
    return rows


def interventions(scores: pd.DataFrame, trained_on: Collection[str] = ()) -> pd.DataFrame:
    """Overwrites of a language's own neurons, each beside its controls.

    Args:
        scores: The ``scores`` table.
        trained_on: Languages of the training data; their rows are no transfer and left out.

    Returns:
        One row per comparison on the primary metric, with ``at_chance`` (of the score without
        intervention), ``no_room`` (that score lies so near 100 that no gain large enough to be
        found is left), ``control_best`` and ``control_worst`` (largest and smallest difference any
        control draw gave for the same task, adapter, language and value; NaN without controls),
        ``controls`` (how many draws), ``significant``, ``beyond_controls``.
    """
    table = primary(over_seeds(scores))
    table = table[~table["language"].isin(list(trained_on))]
    own = table[(table["intervention"] != "none") & (table["units"] == "own")].copy()
    cell = ["task", "adapter", "language", "metric"]
    base = baselines(table).drop_duplicates(cell)
    own = own.merge(
        base[[*cell, "at_chance", "value"]], on=cell, how="left", suffixes=("", "_base")
    )
    own["at_chance"] = own["at_chance"].astype("boolean").fillna(False).astype(bool)
    own["no_room"] = 100 - own["value_base"] <= own["mde"].fillna(0)
    control = table[table["units"].isin(CONTROLS)]
    keys = [*cell, "intervention"]
    if control["neurons"].isin(own["neurons"].unique()).any():
        keys.append("neurons")  # the controls say which set they imitate
    best = control.groupby(keys, dropna=False).agg(
        control_best=("difference_max", "max"),
        control_worst=("difference_min", "min"),
        controls=("seeds", "sum"),
    )
    own = own.merge(best.reset_index(), on=keys, how="left")
    own["controls"] = own["controls"].fillna(0).astype(int)
    # A difference is marked only where both the test and the interval carry it.
    beyond = (own["difference_low"] > 0) | (own["difference_high"] < 0)
    own["significant"] = (own["p_holm"] < LEVEL) & beyond
    gain, known = own["difference"] > 0, own["control_best"].notna()
    own["beyond_controls"] = known & np.where(
        gain,
        own["difference"] > own["control_best"],
        own["difference"] < own["control_worst"],
    )
    return own.reset_index(drop=True)


def control_changes(scores: pd.DataFrame, trained_on: Collection[str] = ()) -> pd.DataFrame:
    """Every draw of random neurons under an overwrite, in every language, on the primary metric.

    Args:
        scores: The ``scores`` table.
        trained_on: Languages of the training data; kept here, and marked.

    Returns:
        One row per draw whose score without intervention lies above chance, with ``trained``
        (a language of the training data) and ``significant``.
    """
    table = primary(scores)
    cell = ["task", "adapter", "language", "metric"]
    base = baselines(primary(over_seeds(scores))).drop_duplicates(cell)
    rows = table[(table["intervention"] != "none") & table["units"].isin(CONTROLS)]
    rows = rows.merge(base[[*cell, "at_chance"]], on=cell, how="left")
    rows = rows[~rows["at_chance"].astype("boolean").fillna(False).astype(bool)]
    beyond = (rows["difference_low"] > 0) | (rows["difference_high"] < 0)
    return rows.assign(
        trained=rows["language"].isin(list(trained_on)),
        significant=(rows["p_holm"] < LEVEL) & beyond,
    ).reset_index(drop=True)
