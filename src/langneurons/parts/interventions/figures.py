"""The figure that carries the verdict: own, equally active and random neurons by language."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

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
    weak = set(own.loc[own["at_chance"], "language"])
    names = {
        lang: f"{lang} (trained on)"
        if lang in trained_on
        else f"{lang} (at chance)"
        if lang in weak
        else str(lang)
        for lang in own["language"]
    }
    rows = rows[rows["language"].isin(names)]
    rows = rows.assign(language=rows["language"].map(names), name=rows["language"])
    metric = metric_label(str(cell["metric"])).partition(",")[0]
    caption = (
        f"{cell['task']} ({metric}), adapter {cell['adapter']}: change in points when "
        f"{cell['intervention']} is written over a language's own {cell['neurons']} neurons (dot, "
        f"with 95 % interval){with_controls(rows['kind'])}."
    )
    label = f"change of {metric}, points"
    figure = beside(rows.rename(columns=columns), label, 0, _say, width=NARROW)
    return Picture("answer", caption, figure)


def _say(row: dict[str, Any]) -> str:
    change = with_interval(row["value"], row["low"], row["high"], 1, signed=True)
    return f"{row['name']}, {style.LABELS[row['kind']]}: {change} points"
