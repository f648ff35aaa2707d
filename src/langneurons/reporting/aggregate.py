"""From one row per seed to one row per comparison, and which comparison may be read how.

Rule for several seeds: the mean is shown, its interval is the envelope of the seeds' intervals,
and a p-value is the largest of the seeds': a finding has to hold in every seed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from langneurons.evaluation.power import multiplier

KEYS = ["task", "adapter", "language", "metric", "intervention", "units", "neurons"]
PRIMARY = ("accuracy", "f1", "exact_match")
"""The metric a task is judged by: the first of these it has (the others are in the tables)."""

CONTROLS = ("random", "matched")
LEVEL = 0.05
_Z = float(norm.ppf(1 - LEVEL / 2))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain mappings."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def starred(row: Mapping[str, Any]) -> bool:
    """Whether a difference gets an asterisk: p after Holm and an interval that leaves zero out."""
    beyond = row["difference_low"] > 0 or row["difference_high"] < 0
    return bool(row["p_holm"] < LEVEL and beyond)


def extreme(table: pd.DataFrame, column: str, *, largest: bool) -> pd.Series:
    """The row with the largest (or smallest) value of a column; missing values never win."""
    return table.sort_values(column, ascending=not largest, na_position="last").iloc[0]


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


def target_of(adapter: str, language: str) -> str:
    """An adapter's name as seen from a language: ``target:hi`` is ``target`` on Hindi."""
    return adapter[: -len(language) - 1] if adapter.endswith(f":{language}") else adapter


@dataclass(frozen=True)
class References:
    """Names of the adapters the others are compared with, those of the study's order first.

    There may be several of a kind, with and without attention.

    Attributes:
        none: Adapters that train no MLP units.
        random: Adapters that train random units.
        matched: Adapters that train random units of the same activity.
    """

    none: tuple[str, ...] = ("none",)
    random: tuple[str, ...] = ("random",)
    matched: tuple[str, ...] = ()

    def names(self) -> set[str]:
        """All names."""
        return {*self.none, *self.random, *self.matched}


def references(finetuning: pd.DataFrame) -> References:
    """Which adapters of a run are references, by the units they train.

    Args:
        finetuning: The ``finetuning`` table; ``units`` is ``none``, or starts with ``random`` or
            ``matched`` for random units (several choices are joined by `` + ``).
    """
    kinds: dict[str, list[str]] = {"none": [], **{control: [] for control in CONTROLS}}
    for adapter, units in zip(finetuning["adapter"], finetuning["units"], strict=True):
        parts = str(units).split(" + ")
        for kind in {part.partition(":")[0] for part in parts} & set(kinds):
            if all(part.partition(":")[0] == kind for part in parts):
                kinds[kind].append(str(adapter))
    return References(**{kind: tuple(dict.fromkeys(names)) for kind, names in kinds.items()})


def adapters(
    scores: pd.DataFrame,
    references: Collection[str],
    paired: pd.DataFrame | None = None,
    trained_on: Collection[str] = (),
) -> pd.DataFrame:
    """Adapters against a reference adapter, without intervention, on the primary metric.

    Args:
        scores: The ``scores`` table.
        references: Names of the adapters to compare with, those of one kind; each other adapter
            is compared with the one it is paired with, else with the first.
        paired: The ``adapters`` table where the run has one: paired differences of the same
            examples with Holm-corrected p-values. Without it the difference's interval is put
            together from the two scores' own intervals (Newcombe's method; Zou and Donner,
            Statistics in Medicine 27, 2008), which ignores the pairing and is therefore wide;
            its p-value is Bonferroni-corrected over all rows.
        trained_on: Languages left out.

    Returns:
        Columns task, language, metric, adapter, reference, value, reference_value, difference,
        low, high, p_adjusted, mde, paired, at_chance, significant; empty where the run has no
        such reference.
    """
    table = baselines(primary(over_seeds(scores)))
    table = table[~table["language"].isin(list(trained_on))]
    # An empty table, with its columns, where there is no reference.
    parts = [_against(table, name, references, paired) for name in (*references, "")]
    found = pd.concat([part for part in parts if len(part)] or parts[-1:], ignore_index=True)
    cell = ["task", "language", "metric", "adapter"]
    order = found.assign(unpaired=~found["paired"].astype(bool))
    order = order.sort_values("unpaired", kind="stable").drop_duplicates(cell).sort_index()
    out = order.drop(columns="unpaired")
    raw = out["p_value"].where(~out["paired"].astype(bool))
    out["p_adjusted"] = out["p_adjusted"].fillna((raw * max(1, len(out))).clip(upper=1.0))
    out["significant"] = (out["p_adjusted"] < LEVEL) & ((out["low"] > 0) | (out["high"] < 0))
    return out.drop(columns="p_value").reset_index(drop=True)


def _against(
    table: pd.DataFrame, reference: str, references: Collection[str], paired: pd.DataFrame | None
) -> pd.DataFrame:
    """Every adapter that is no reference of this kind against one; see :func:`adapters`."""
    cell = ["task", "language", "metric"]
    right = table[table["adapter"] == reference].drop_duplicates(cell)
    left = table[~table["adapter"].isin(list(references))].drop_duplicates([*cell, "adapter"])
    both = left.merge(right, on=cell, suffixes=("", "_reference"))
    pairs = zip(both["adapter"], both["language"], strict=True)
    keep = [":" not in name or name.endswith(f":{language}") for name, language in pairs]
    both = both[np.array(keep, dtype=bool)]
    out = both[[*cell, "adapter", "value", "n", "seeds"]].copy()
    out["reference"] = reference
    out["reference_value"] = both["value_reference"]
    out["at_chance"] = both["at_chance_reference"] & both["at_chance"]
    out["difference"] = both["value"] - both["value_reference"]
    below, above = both["value"] - both["low"], both["high"] - both["value"]
    below_ref = both["value_reference"] - both["low_reference"]
    above_ref = both["high_reference"] - both["value_reference"]
    out["low"] = out["difference"] - np.hypot(below, above_ref)
    out["high"] = out["difference"] + np.hypot(above, below_ref)
    error = (out["high"] - out["low"]) / (2 * _Z)
    apart = np.abs(out["difference"]) / error.replace(0, np.nan)
    out["p_value"] = pd.Series(2 * norm.sf(apart), out.index)
    out["p_adjusted"] = np.nan
    out["mde"] = multiplier() * error
    out["paired"] = False
    if paired is not None:
        same = paired[paired["reference"] == reference]
        measured = same.groupby([*cell, "adapter"], sort=False).agg(
            difference=("difference", "mean"),
            low=("low", "min"),
            high=("high", "max"),
            p_adjusted=("p_holm", "max"),
            mde=("mde", "max"),
        )
        index = pd.MultiIndex.from_frame(out[[*cell, "adapter"]])
        found = index.isin(measured.index)
        for name in ("difference", "low", "high", "p_adjusted", "mde"):
            values = measured[name].reindex(index).to_numpy()
            out[name] = np.where(found, values, out[name])
        out["paired"] = found
    return out


def matrix(own: pd.DataFrame, values: str) -> pd.DataFrame:
    """A column of the ``perplexity`` table as a matrix: neurons of (rows), text of (columns).

    Args:
        own: Rows of one neuron set and value with kind ``own``.
        values: The column.

    Returns:
        The means, languages of the rows first among the columns, so that the diagonal is one.
    """
    cells = own.pivot_table(
        index="row", columns="column", values=values, aggfunc="mean", sort=False
    )
    order = [name for name in cells.index if name in cells.columns]
    return cells[[*order, *(name for name in cells.columns if name not in order)]]


def perplexity_rows(table: pd.DataFrame) -> pd.DataFrame:
    """How each language's own neurons change its own perplexity, beside others and controls.

    Args:
        table: The ``perplexity`` table.

    Returns:
        One row per neuron set, value and language: units, ratio, low, high, ``other`` (the
        largest ratio on any other language), ``other_language``, ``random`` and ``matched``
        (largest ratio of any draw on the language itself; NaN without draws), ``draws``, and the
        booleans ``shown`` (interval above 1), ``dominant``, ``beyond_random``, ``beyond_matched``.
    """
    rows = []
    for (neurons, value, row), group in table.groupby(["neurons", "value", "row"], sort=False):
        own = group[group["kind"] == "own"]
        itself, others = own[own["column"] == row], own[own["column"] != row]
        if itself.empty:
            continue
        cell = itself.iloc[0]
        entry: dict[str, object] = {
            "neurons": neurons,
            "value": value,
            "language": row,
            "units": cell["units"],
            "ratio": float(itself["ratio"].mean()),
            "low": float(itself["low"].min()),
            "high": float(itself["high"].max()),
            "other": float(others["ratio"].max()) if len(others) else np.nan,
            "other_language": (
                extreme(others, "ratio", largest=True)["column"] if len(others) else ""
            ),
            "documents": cell["documents"],
            "tokens": cell["tokens"],
        }
        for kind in CONTROLS:
            draws = group[(group["kind"] == kind) & (group["column"] == row)]["ratio"]
            entry[kind] = float(draws.max()) if len(draws) else np.nan
            entry[f"{kind}_draws"] = len(draws)
        rows.append(entry)
    out = pd.DataFrame(rows)
    if out.empty:
        return out
    out["shown"] = out["low"] > 1
    out["dominant"] = out["ratio"] > out["other"]
    for kind in CONTROLS:
        out[f"beyond_{kind}"] = out["ratio"] > out[kind]
    return out


def same_language(overlap: pd.DataFrame) -> pd.DataFrame:
    """Overlap of two different neuron sets for the same language, with corrected p-values.

    Returns:
        Rows with ``a`` != ``b`` and equal languages; ``p_adjusted`` is Bonferroni's over the rows
        of the pair, ``above`` says that the overlap exceeds chance at 5 %, ``expected_jaccard``
        is the Jaccard index of the expected number of shared units.
    """
    rows = overlap[
        (overlap["a"] != overlap["b"]) & (overlap["language_a"] == overlap["language_b"])
    ].copy()
    tests = rows.groupby(["a", "b"])["p_value"].transform("size")
    rows["p_adjusted"] = np.minimum(1.0, rows["p_value"] * tests)
    rows["above"] = (rows["p_adjusted"] < LEVEL) & (rows["shared"] > rows["expected"])
    rows["expected_jaccard"] = expected_jaccard(rows)
    return rows.reset_index(drop=True)


MANY_PAIRS = 6
"""More pairs of sets than this (four sets) are shown together instead of one by one."""


def pooled(overlap: pd.DataFrame) -> pd.DataFrame:
    """Overlap of each pair of sets over all languages: units counted once for each language.

    Args:
        overlap: The ``overlap`` table.

    Returns:
        The table's columns with the sets as ``language_a`` and ``language_b``; the p-value is the
        largest of the languages'.
    """
    sums = {name: (name, "sum") for name in ("size_a", "size_b", "shared", "expected")}
    pairs = same_language(overlap).groupby(["a", "b"], sort=False)
    rows = pairs.agg(**sums, p_value=("p_value", "max")).reset_index()
    rows = rows.rename(columns={"a": "language_a", "b": "language_b"})
    union = rows["size_a"] + rows["size_b"] - rows["shared"]
    return rows.assign(a="neuron set", b="neuron set", jaccard=rows["shared"] / union)


def expected_jaccard(overlap: pd.DataFrame) -> pd.Series:
    """Jaccard index of the number of units two sets of these sizes share by chance."""
    union = overlap["size_a"] + overlap["size_b"] - overlap["expected"]
    return (overlap["expected"] / union.where(union > 0)).astype(float)
