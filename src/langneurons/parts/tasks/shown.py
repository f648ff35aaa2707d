"""Task scores: without intervention, under intervention, beside simple rules."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from langneurons.parts.tasks.comparisons import baselines, interventions, over_seeds
from langneurons.reporting.aggregate import LEVEL, starred
from langneurons.reporting.names import metric_label, slug
from langneurons.reporting.numbers import interval
from langneurons.reporting.tables.base import Column, Table


def untouched(scores: pd.DataFrame, rules: pd.DataFrame | None = None) -> Table:
    """Scores without intervention, beside guessing and the simple rules.

    Args:
        scores: The ``scores`` table.
        rules: The ``rules`` table, where there is one.
    """
    data = baselines(over_seeds(scores)).drop(columns=["intervention", "units", "neurons"])
    columns = [
        Column("task", "task"),
        Column("adapter", "adapter"),
        Column("language", "language"),
        Column("metric", "metric"),
        Column("n", "n", "count"),
        Column("seeds", "seeds", "count"),
        Column("value", "score, %", "number", 1, ("low", "high")),
        Column("chance", "guessing, %", "number", 1),
        Column("at_chance", "at chance", "flag"),
    ]
    if rules is not None:
        simple = rules[rules["subset"] == "all"]
        keys = ["task", "language", "metric"]
        wide = simple.pivot_table(index=keys, columns="rule", values="value", sort=False)
        wide.columns = [f"rule_{name}" for name in wide.columns]
        data = data.merge(wide.reset_index(), on=keys, how="left")
        columns += [
            Column(name, f"{name[5:].replace('_', ' ')}, %", "number", 1) for name in wide.columns
        ]
    return Table(
        "scores",
        "Scores without intervention",
        "Score per task, adapter and language without intervention, with its interval (over seeds: "
        "mean, and the envelope of the intervals), beside guessing at random"
        + (" and rules that need no understanding." if rules is not None else "."),
        data,
        columns,
    )


def overwritten(scores: pd.DataFrame, task: str, trained_on: Collection[str] = ()) -> Table | None:
    """Every overwrite of own neurons in one task, with significance; None where there is none.

    Args:
        scores: The ``scores`` table.
        task: The task.
        trained_on: Languages left out.
    """
    data = interventions(scores[scores["task"] == task], trained_on)
    if data.empty:
        return None
    metric = metric_label(str(data["metric"].iloc[0]))
    data["control"] = [
        interval(low, high, 1, signed=True) or None
        for low, high in zip(data["control_worst"], data["control_best"], strict=True)
    ]
    return Table(
        f"interventions_{slug(task)}",
        f"{task}: every comparison",
        f"{task}, {metric}: change when a language's own neurons are overwritten, in points "
        "against no intervention on the same examples, with its interval; an asterisk marks "
        f"p < {LEVEL} after Holm's correction and an interval that leaves zero out. Control: "
        "smallest and largest change of the draws of random units under the same treatment. "
        "Detectable: smallest change the comparison could have shown with 80 % power. At chance: "
        "the score without intervention cannot be told from guessing.",
        data,
        [
            Column("adapter", "adapter"),
            Column("language", "language"),
            Column("neurons", "set"),
            Column("intervention", "value"),
            Column("n", "n", "count"),
            Column("value_base", "untouched, %", "number", 1),
            Column("value", "overwritten, %", "number", 1, ("low", "high")),
            Column(
                "difference",
                "change, points",
                "number",
                1,
                ("difference_low", "difference_high"),
                True,
                "significant",
            ),
            Column("p_holm", "p, Holm", "p"),
            Column("control", "control, points", "short"),
            Column("mde", "detectable, points", "number", 1),
            Column("at_chance", "at chance", "flag"),
        ],
    )


def by_language(scores: pd.DataFrame, task: str, adapter: str, metric: str) -> Table | None:
    """The layout papers use: values written down, languages across, asterisks for significance.

    Args:
        scores: The ``scores`` table.
        task: The task.
        adapter: The adapter.
        metric: The metric.
    """
    table = over_seeds(scores)
    table = table[
        (table["task"] == task) & (table["adapter"] == adapter) & (table["metric"] == metric)
    ]
    if table.empty:
        return None
    languages = list(dict.fromkeys(table["language"]))
    rows: dict[tuple[str, str, str], dict[str, object]] = {}
    for row in table.to_dict("records"):
        plain = row["intervention"] == "none"
        name = "" if plain or row["units"] != "own" else str(row["neurons"])
        key = (str(row["intervention"]), "-" if plain else str(row["units"]), name)
        entry = rows.setdefault(key, dict(zip(("value", "units", "set"), key, strict=True)))
        language = row["language"]
        entry[f"score:{language}"] = row["value"]
        entry[f"low:{language}"], entry[f"high:{language}"] = row["low"], row["high"]
        entry[f"star:{language}"] = starred(row)
    data = pd.DataFrame(list(rows.values()))
    for language in languages:
        star = data[f"star:{language}"]
        data[f"star:{language}"] = star.astype("boolean").fillna(False).astype(bool)
    label = metric_label(metric)
    return Table(
        f"scores_{slug(task)}_{slug(adapter)}_{slug(metric)}",
        f"{task}, {label}, adapter {adapter}",
        f"{task}, {label}, adapter {adapter}: no intervention and overwrites with each value, own "
        "neurons and controls, by language, with intervals (over seeds: mean and envelope). "
        f"Asterisk: p < {LEVEL} against no intervention after Holm's correction, and an interval "
        "of the difference that leaves zero out.",
        data,
        [
            Column("value", "value written"),
            Column("units", "units"),
            Column("set", "set"),
            *(
                Column(
                    f"score:{name}",
                    str(name),
                    "number",
                    1,
                    (f"low:{name}", f"high:{name}"),
                    mark=f"star:{name}",
                )
                for name in languages
            ),
        ],
    )


def simple_rules(rules: pd.DataFrame) -> Table:
    """Scores of rules that need no understanding, also on the harder subset.

    Args:
        rules: The ``rules`` table.
    """
    return Table(
        "rules",
        "Rules that need no understanding",
        "Scores of simple rules on the same examples; a model has to lie above them before its "
        "score says anything about the skill asked for.",
        rules,
        [
            Column("task", "task"),
            Column("language", "language"),
            Column("rule", "rule"),
            Column("subset", "examples"),
            Column("metric", "metric"),
            Column("value", "score, %", "number", 1),
            Column("n", "n", "count"),
        ],
    )


def odd_rows(odd: pd.DataFrame) -> Table:
    """Examples that a reader of a score should know of.

    Args:
        odd: The ``odd_rows`` table.
    """
    return Table(
        "odd_rows",
        "Odd examples",
        "Examples with something odd about them, by task and language. They are counted in the "
        "score like any other, but for those without a gold answer.",
        odd,
        [
            Column("task", "task"),
            Column("language", "language"),
            Column("n", "n", "count"),
            Column("no_gold", "no gold answer", "count"),
            Column("romanised", "in Latin letters", "count"),
            Column("replaced", "with U+FFFD", "count"),
            Column("english", "a field in English", "count"),
            Column("cut", "context cut", "count"),
        ],
    )
