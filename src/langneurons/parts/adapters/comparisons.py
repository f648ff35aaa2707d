"""Adapters against the adapters they are held against, on the same examples where there are any."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from scipy.stats import norm

from langneurons.evaluation.power import multiplier
from langneurons.parts.tasks.comparisons import baselines, over_seeds, primary
from langneurons.reporting.aggregate import LEVEL
from langneurons.reporting.inputs import Run

_Z = float(norm.ppf(1 - LEVEL / 2))


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
    kinds: dict[str, list[str]] = {field.name: [] for field in fields(References)}
    for adapter, units in zip(finetuning["adapter"], finetuning["units"], strict=True):
        parts = str(units).split(" + ")
        for kind in {part.partition(":")[0] for part in parts} & set(kinds):
            if all(part.partition(":")[0] == kind for part in parts):
                kinds[kind].append(str(adapter))
    return References(**{kind: tuple(dict.fromkeys(names)) for kind, names in kinds.items()})


def compared_with(run: Run) -> References:
    """The adapters that others are compared with."""
    table = run.table("finetuning")
    return References() if table is None else references(table)


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
