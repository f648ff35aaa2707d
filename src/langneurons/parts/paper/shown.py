"""The paper's own tables, in its layout: PPXC, interventions and masked LoRA by language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from langneurons.parts.adapters.comparisons import target_of
from langneurons.parts.tasks.comparisons import baselines, over_seeds
from langneurons.reporting.aggregate import LEVEL, records, starred
from langneurons.reporting.names import metric_label, slug
from langneurons.reporting.tables.base import Column, Table

WRITTEN = {
    "none": "no intervention",
    "mean": "Int. mean",
    "zero": "Int. 0",
}
"""The paper's names of interventions; percentiles are written ``Int. P90``."""


def ppxc(perplexity: pd.DataFrame, name: str, value: str) -> Table:
    """Change of perplexity: neurons of a language down, text of a language across.

    Args:
        perplexity: Rows of the ``perplexity`` table with one neuron set and one value.
        name: The neuron set.
        value: The value written.
    """
    own = perplexity[perplexity["kind"] == "own"]
    languages = list(dict.fromkeys(own["column"]))
    rows = []
    for row, group in own.groupby("row", sort=False):
        change = group["perplexity"] - group["baseline"]
        rows.append({"row": row, **dict(zip(group["column"], change, strict=True))})
    return Table(
        f"paper_ppxc_{slug(name)}_{slug(value)}",
        f"PPXC, {name}, {value}",
        f"PPXC: perplexity on text of each language (across) with the {name} neurons of each "
        f"language (down) set to {value}, minus the untouched perplexity.",
        pd.DataFrame(rows, columns=["row", *languages]),
        [
            Column("row", "neurons of"),
            *(Column(lang, str(lang), "number", 2, signed=True) for lang in languages),
        ],
    )


def interventions(
    scores: pd.DataFrame, task: str, metric: str, known: Sequence[str]
) -> Table | None:
    """Test-time interventions: method and value down, languages across.

    Args:
        scores: The ``scores`` table.
        task: The task.
        metric: The metric.
        known: Languages of the training data, left out.

    Returns:
        The table, or None where nothing was overwritten.
    """
    rows = _chosen(scores, task, metric)
    changed = rows[(rows["intervention"] != "none") & (rows["units"] == "own")]
    if changed.empty:
        return None
    adapters = list(dict.fromkeys(changed["adapter"]))
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for adapter in adapters:
        plain = rows[(rows["adapter"] == adapter) & (rows["intervention"] == "none")]
        for row in [*records(plain), *records(changed[changed["adapter"] == adapter])]:
            own = row["intervention"] != "none"
            line = (adapter, str(row["neurons"]) if own else "", str(row["intervention"]))
            _fill(lines, line, row)
    languages = [lang for lang in dict.fromkeys(changed["language"]) if lang not in known]
    names = ("adapter", "set", "value")
    data = _wide(lines, names, languages)
    data["value"] = [WRITTEN.get(value, f"Int. {value}") for value in data["value"]]
    columns = [Column("set", "neurons"), Column("value", "intervention")]
    if len(adapters) > 1:
        columns.insert(0, Column("adapter", "MLP units trained"))
    return Table(
        f"paper_interventions_{slug(task)}_{slug(metric)}",
        f"Interventions, {task}, {metric_label(metric)}",
        f"{task}, {metric_label(metric)}: no intervention, and the target language's neurons "
        f"overwritten at test time (mean, percentiles or 0), by language. Asterisk: p < {LEVEL} "
        "against no intervention after Holm's correction, and an interval of the difference that "
        "leaves zero out.",
        data,
        [*columns, *_languages(languages)],
    )


def lora(scores: pd.DataFrame, task: str, metric: str, known: Sequence[str]) -> Table | None:
    """Masked LoRA: which MLP units learnt down, languages across.

    Args:
        scores: The ``scores`` table.
        task: The task.
        metric: The metric.
        known: Languages of the training data, left out.

    Returns:
        The table, or None where only one adapter was trained.
    """
    rows = baselines(_chosen(scores, task, metric))
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in records(rows):
        choice = target_of(str(row["adapter"]), str(row["language"]))
        _fill(lines, (choice,), {**row, "p_holm": 1.0})
    if len(lines) < 2:
        return None
    languages = [lang for lang in dict.fromkeys(rows["language"]) if lang not in known]
    return Table(
        f"paper_lora_{slug(task)}_{slug(metric)}",
        f"Masked LoRA, {task}, {metric_label(metric)}",
        f"{task}, {metric_label(metric)}, without intervention: LoRA on the rows of the named MLP "
        "units only, by language, with intervals. Differences with their tests are in the table "
        "of adapters compared.",
        _wide(lines, ("units",), languages),
        [Column("units", "MLP units trained"), *_languages(languages, mark=False)],
    )


def _chosen(scores: pd.DataFrame, task: str, metric: str) -> pd.DataFrame:
    rows = over_seeds(scores)
    return rows[(rows["task"] == task) & (rows["metric"] == metric)]


def _fill(lines: dict[Any, dict[str, Any]], line: Any, row: Mapping[str, Any]) -> None:
    entry, lang = lines.setdefault(line, {}), row["language"]
    entry[f"score:{lang}"] = row["value"]
    entry[f"low:{lang}"], entry[f"high:{lang}"] = row["low"], row["high"]
    entry[f"star:{lang}"] = starred(row)


def _wide(
    lines: Mapping[Any, Mapping[str, Any]], names: Sequence[str], languages: Sequence[str]
) -> pd.DataFrame:
    parts = [f"{part}:{lang}" for lang in languages for part in ("score", "low", "high", "star")]
    data = pd.DataFrame(
        [{**dict(zip(names, line, strict=True)), **entry} for line, entry in lines.items()],
        columns=[*names, *parts],
    )
    stars = [part for part in parts if part.startswith("star:")]
    data[stars] = data[stars].astype("boolean").fillna(False).astype(bool)
    empty = data[[f"score:{lang}" for lang in languages]].isna().all(axis=1)
    return data[~empty].reset_index(drop=True)


def _languages(languages: Sequence[str], *, mark: bool = True) -> list[Column]:
    return [
        Column(
            f"score:{lang}", str(lang), "number", 1, (f"low:{lang}", f"high:{lang}"),
            mark=f"star:{lang}" if mark else None,
        )
        for lang in languages
    ]  # fmt: skip
