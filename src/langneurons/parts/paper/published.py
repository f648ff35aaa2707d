"""The numbers the paper's authors published, and which runs they can be compared with.

``published.json`` holds their working results (one run each, no seeds, no intervals) with the
source; nothing in it is worked out here but the change against the same file's untouched score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from langneurons.reporting.inputs import Run

_CELL = ["model", "task", "metric", "method", "language_set", "adapter", "language"]


@cache
def _file() -> dict[str, Any]:
    path = resources.files("langneurons.parts.paper") / "published.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def source() -> Mapping[str, str]:
    """Where the numbers come from: ``paper`` and ``files``."""
    return dict(_file()["source"])


def published() -> pd.DataFrame:
    """Every published score.

    Returns:
        Columns model, task, metric, method, language_set, adapter (none, english, target,
        english+target: which rows of the MLP learnt), language, value (none, mean, zero, P5 to
        P95), n, score (%), untouched (the score with value none; of another neuron set of the
        same adapter where the authors did not repeat it) and change (points).
    """
    data = _file()
    table = pd.DataFrame(data["rows"], columns=data["columns"])
    plain = table[table["value"] == "none"]
    same = plain.set_index(_CELL)["score"]
    wider = [name for name in _CELL if name not in ("method", "language_set")]
    any_set = plain.groupby(wider)["score"].first()
    own = same.reindex(pd.MultiIndex.from_frame(table[_CELL])).to_numpy()
    other = any_set.reindex(pd.MultiIndex.from_frame(table[wider])).to_numpy()
    untouched = pd.Series(own, index=table.index).fillna(pd.Series(other, index=table.index))
    return table.assign(untouched=untouched, change=(table["score"] - untouched).round(2))


def model_of(run: Run) -> str | None:
    """The authors' model a run was made with, by its name; None for any other model.

    A file's suffix and the owner on the Hub do not count; a quantised copy has another name and
    is another model.
    """
    model = run.info.get("model", {})
    names = [model] if isinstance(model, str) else [model.get("name"), model.get("source")]
    for name in names:
        plain = str(name or "").replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()
        for known, aliases in _file()["models"].items():
            if plain in aliases:
                return str(known)
    return None
