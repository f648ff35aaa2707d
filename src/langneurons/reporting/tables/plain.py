"""Tables shown as they are: optional results and the run's own stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from langneurons.reporting.tables.base import Column, Table


def plain(table: pd.DataFrame, name: str, title: str, caption: str) -> Table:
    """Any table, with ``low`` and ``high`` written as the interval of the column before them.

    Args:
        table: The table.
        name: File name.
        title: A few words.
        caption: What is shown.
    """
    names = [str(column) for column in table.columns]
    data = table.set_axis(names, axis=1)
    ends = ("low", "high")
    columns = []
    for place, key in enumerate(names):
        if key in ends and set(ends) <= set(names):
            continue
        kind = data[key]
        label = key.replace("_", " ")
        if is_bool_dtype(kind):
            columns.append(Column(key, label, "flag"))
        elif key.startswith("p_") and is_numeric_dtype(kind):
            columns.append(Column(key, label, "p"))
        elif is_integer_dtype(kind):
            columns.append(Column(key, label, "count"))
        elif is_numeric_dtype(kind):
            follows = tuple(names[place + 1 : place + 3]) == ends
            columns.append(Column(key, label, "number", 3, ends if follows else None))
        else:
            columns.append(Column(key, label))
    return Table(name, title, caption, data, columns)


def stages(entries: Sequence[Mapping[str, Any]]) -> Table | None:
    """The stages of the run with time and outcome; None where none were recorded.

    Args:
        entries: ``run.json``'s ``stages``.
    """
    if not entries:
        return None
    data = pd.DataFrame(
        [
            {key: entry.get(key) for key in ("name", "seconds", "status", "reason")}
            for entry in entries
        ]
    )
    data["seconds"] = pd.to_numeric(data["seconds"], errors="coerce")
    return Table(
        "stages",
        "Stages of the run",
        "Stages of the run, seconds each took, and why a stage was run or not.",
        data,
        [
            Column("name", "stage"),
            Column("seconds", "seconds", "number", 1),
            Column("status", "status"),
            Column("reason", "reason"),
        ],
    )
