"""A run's numbers beside the published ones, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from langneurons.parts.paper.published import published
from langneurons.parts.tasks.comparisons import over_seeds
from langneurons.reporting.aggregate import records
from langneurons.reporting.inputs import Run
from langneurons.reporting.tables import Column, Table

_Z = float(norm.ppf(0.975))


def compared(run: Run, model: str) -> pd.DataFrame:
    """Every cell that both this run and the authors measured.

    Args:
        run: A run of one of the authors' models.
        model: The model's name among the published results.

    Returns:
        Columns task, metric, adapter, language, method, value, published, own, low, high,
        difference (own minus published, points), difference_low, difference_high, within (the
        interval of the difference holds 0). With value ``none`` these are scores in %, else
        changes against no intervention in points. The interval joins this run's own with the
        sampling error of the authors' number: binomial for a score; for a change that of two
        unpaired scores, since the authors publish no pairs, so that it is wide rather than short.
    """
    theirs = published()
    theirs = theirs[theirs["model"] == model]
    rows: list[dict[str, Any]] = []
    for own in records(_own(run)):
        cell = theirs[
            (theirs["task"] == own["task"])
            & (theirs["metric"] == own["metric"])
            & (theirs["language"] == own["language"])
            & (theirs["adapter"] == own["adapter"])
            & (theirs["value"] == own["value"])
        ]
        if own["value"] != "none":
            cell = cell[cell["method"] == own["method"]]
        for place, other in enumerate(records(cell)):
            if own["value"] == "none" and place:
                break  # the same run without intervention, under another set's name
            rows.append(_cell(own, other))
    return pd.DataFrame(rows)


def _cell(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    plain = own["value"] == "none"
    theirs = other["score"] if plain else other["change"]
    shares = [other["score"] / 100] if plain else [other["score"] / 100, other["untouched"] / 100]
    error = 100 * _Z * math.sqrt(sum(p * (1 - p) for p in shares) / other["n"])
    difference = own["estimate"] - theirs
    low = difference - float(np.hypot(own["estimate"] - own["low"], error))
    high = difference + float(np.hypot(own["high"] - own["estimate"], error))
    return {
        **{key: own[key] for key in ("task", "metric", "adapter", "language", "method", "value")},
        "language_set": other["language_set"],
        "published": theirs,
        "published_n": other["n"],
        "own": own["estimate"],
        "low": own["low"],
        "high": own["high"],
        "n": own["n"],
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "within": low <= 0 <= high,
    }


def _own(run: Run) -> pd.DataFrame:
    """The run's scores and changes of own neurons in the published results' words."""
    scores = run.table("scores")
    columns = ["task", "metric", "adapter", "language", "method", "value"]
    if scores is None:
        return pd.DataFrame(columns=[*columns, "estimate", "low", "high", "n"])
    methods, kinds = methods_of(run), adapters_of(run)
    rows = []
    for row in records(over_seeds(scores)):
        kind = kinds.get((str(row["task"]), str(row["adapter"]), str(row["language"])))
        plain = row["intervention"] == "none"
        if kind is None or not (plain or row["units"] == "own"):
            continue
        names = ("value", "low", "high")
        if not plain:
            names = ("difference", "difference_low", "difference_high")
        rows.append(
            {
                "task": task_name(str(row["task"])),
                "metric": row["metric"],
                "adapter": kind,
                "language": row["language"],
                "method": "" if plain else methods.get(str(row["neurons"]), ""),
                "value": row["intervention"],
                "estimate": row[names[0]],
                "low": row[names[1]],
                "high": row[names[2]],
                "n": row["n"],
            }
        )
    return pd.DataFrame(rows, columns=[*columns, "estimate", "low", "high", "n"])


def task_name(task: str) -> str:
    """A task's name without the variants a study may append: ``xnli-dev`` is ``xnli``."""
    return task.casefold().replace("_", "-").partition("-")[0]


def methods_of(run: Run) -> dict[str, str]:
    """Neuron set to the method that found it, from the study's parameters."""
    sets = run.info.get("parameters", {}).get("neurons", {})
    if not isinstance(sets, Mapping):
        return {}
    return {
        str(name): str(spec.get("method", "lape"))
        for name, spec in sets.items()
        if isinstance(spec, Mapping) and not spec.get("derive")
    }


def adapters_of(run: Run) -> dict[tuple[str, str, str], str]:
    """(task, adapter, language) to what learnt as seen from the language.

    ``none``, ``english``, ``target`` or ``english+target``; adapters of another language, of
    random units or of all are left out.
    """
    trained = run.table("finetuning")
    if trained is None:
        return {}
    languages = [str(lang) for lang in run.info.get("languages", ())]
    found = {}
    for row in records(trained):
        parts = str(row["units"]).split(" + ")
        chosen = {part.rpartition(":")[2] for part in parts}
        source = str(row["train_language"])
        for lang in languages:
            kind = None
            if parts == ["none"]:
                kind = "none"
            elif any(part.startswith("random") for part in parts):
                kind = None
            elif chosen == {source}:
                kind = "english" if source == "en" else None
            elif chosen == {lang}:
                kind = "target"
            elif chosen == {source, lang} and source == "en":
                kind = "english+target"
            if kind is not None:
                found[str(row["task"]), str(row["adapter"]), lang] = kind
    return found


def numbers(data: pd.DataFrame, model: str) -> Table:
    """The comparison as a table.

    Args:
        data: What :func:`compared` returns.
        model: The authors' model.
    """
    return Table(
        "paper_numbers",
        f"Published numbers of {model} beside this run's",
        "Scores without intervention (value none, in %) and changes under overwrites of a "
        "language's own neurons (in points): published, here with interval, and the difference "
        "with an interval that joins this run's own with the sampling error of the published "
        "number (for a change, of two unpaired scores, since no pairs are published: wide rather "
        "than short). The published runs are single runs.",
        data,
        [
            Column("task", "task"),
            Column("metric", "metric"),
            Column("adapter", "MLP units trained"),
            Column("language", "language"),
            Column("method", "method"),
            Column("value", "value written"),
            Column("published", "published", "number", 2),
            Column("published_n", "n there", "count"),
            Column("own", "here", "number", 2, ("low", "high")),
            Column("n", "n here", "count"),
            Column(
                "difference",
                "here − published",
                "number",
                2,
                ("difference_low", "difference_high"),
                True,
            ),
            Column("within", "agrees", "flag"),
        ],
    )
