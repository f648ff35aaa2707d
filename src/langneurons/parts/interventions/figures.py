"""The figure that carries the verdict: own, equally active and random neurons by language."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from langneurons.parts.adapters.comparisons import References, adapters, target_of
from langneurons.parts.tasks.comparisons import control_changes, interventions
from langneurons.reporting import style
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.figures.beside import NARROW, beside, with_controls
from langneurons.reporting.names import metric_label
from langneurons.reporting.numbers import with_interval
from langneurons.reporting.sections import Picture

_CELL = ["task", "adapter", "neurons", "intervention"]


def carried(scores: pd.DataFrame, trained_on: Collection[str] = ()) -> Picture | None:
    """Every language under the overwrite that the verdict speaks of.

    That is the largest gain credited to own neurons, else the largest significant change, else
    the largest change of all.

    Args:
        scores: The ``scores`` table.
        trained_on: Languages of the training data: marked, and not what the choice is made by.
    """
    seen = interventions(scores, trained_on)
    seen = seen[~seen["at_chance"]]
    if seen.empty:
        return None
    credited = seen[seen["significant"] & seen["beyond_controls"] & (seen["difference"] > 0)]
    shown = next(part for part in (credited, seen[seen["significant"]], seen) if len(part))
    cell = extreme(shown.assign(size=shown["difference"].abs()), "size", largest=True)
    own = interventions(scores)
    own = own[(own[_CELL] == cell[_CELL].to_numpy()).all(axis=1)]
    draws = control_changes(scores)
    same = ["task", "adapter", "intervention"]
    draws = draws[(draws[same] == cell[same].to_numpy()).all(axis=1)]
    if (draws["neurons"] == cell["neurons"]).any():
        draws = draws[draws["neurons"] == cell["neurons"]]
    columns = {"difference": "value", "difference_low": "low", "difference_high": "high"}
    ends = ["language", "kind", "difference", "difference_low", "difference_high", "n"]
    rows = pd.concat([own.assign(kind="own"), draws.assign(kind=draws["units"])])[ends]
    weak = own.loc[own["at_chance"], "language"]
    rows = rows[rows["language"].isin(own["language"])]
    rows = _named(rows, trained_on, weak)
    metric = metric_label(str(cell["metric"])).partition(",")[0]
    caption = (
        f"{cell['task']} ({metric}), adapter {cell['adapter']}: change in points when "
        f"{cell['intervention']} is written over a language's own {cell['neurons']} neurons (dot, "
        f"with 95 % interval){with_controls(rows['kind'])}."
    )
    label = f"change of {metric}, points"
    figure = beside(rows.rename(columns=columns), label, 0, _say, width=NARROW)
    return Picture("answer", caption, figure)


def learnt(
    scores: pd.DataFrame,
    paired: pd.DataFrame | None,
    base: References,
    trained_on: Collection[str] = (),
) -> Picture | None:
    """Every language after fine-tuning only its own neurons, beside fine-tuning random ones.

    Drawn is the kind of adapter that gains most, on the task where it does.

    Args:
        scores: The ``scores`` table.
        paired: The ``adapters`` table, where there is one.
        base: The reference adapters; differences are against those that train no units, else
            against those that train random ones.
        trained_on: Languages of the training data: marked, and not what the choice is made by.
    """
    names = base.none or base.random or base.matched
    rows = adapters(scores, names, paired)
    kinds = {**dict.fromkeys(base.random, "random"), **dict.fromkeys(base.matched, "matched")}
    rows = rows.assign(kind=rows["adapter"].map(kinds).fillna("own"))
    choice = [target_of(a, lang) for a, lang in zip(rows["adapter"], rows["language"], strict=True)]
    rows = rows.assign(choice=choice)
    seen = rows[(rows["kind"] == "own") & ~rows["at_chance"]]
    seen = seen[~seen["language"].isin(list(trained_on))]
    if seen.empty:
        return None
    best = extreme(seen, "difference", largest=True)
    rows = rows[(rows["task"] == best["task"]) & (rows["metric"] == best["metric"])]
    rows = rows[(rows["kind"] != "own") | (rows["choice"] == best["choice"])]
    weak = rows.loc[(rows["kind"] == "own") & rows["at_chance"], "language"]
    rows = _named(rows, trained_on, weak)
    metric = metric_label(str(best["metric"])).partition(",")[0]
    against = "no units" if base.none else "random units"
    caption = (
        f"{best['task']} ({metric}) after fine-tuning only own neurons (adapter {best['choice']}): "
        f"difference in points to training {against} (dot, with 95 % interval)"
        f"{with_controls(rows['kind'])}."
    )
    label = f"difference of {metric}, points"
    table = rows.rename(columns={"value": "score", "difference": "value"})
    return Picture("answer", caption, beside(table, label, 0, _say, width=NARROW))


def _named(rows: pd.DataFrame, trained_on: Collection[str], weak: Collection[str]) -> pd.DataFrame:
    """Rows with their languages named, those trained on and those at chance marked."""
    marks = {**dict.fromkeys(weak, " (at chance)"), **dict.fromkeys(trained_on, " (trained on)")}
    named = [f"{lang}{marks.get(lang, '')}" for lang in rows["language"]]
    return rows.assign(name=rows["language"], language=named)


def _say(row: dict[str, Any]) -> str:
    change = with_interval(row["value"], row["low"], row["high"], 1, signed=True)
    return f"{row['name']}, {style.LABELS[row['kind']]}: {change} points"
