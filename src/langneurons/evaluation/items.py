"""All scored examples of a run in one small table, so that a later correction needs no new run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from langneurons.artifacts import read_table
from langneurons.errors import InputError
from langneurons.evaluation.metrics import column_of
from langneurons.evaluation.scores import Scores

_CELL = ["task", "language", "cell"]


def gather_items(run: str | Path) -> pd.DataFrame:
    """Of every cell and example of a run the id, the group and what was scored; no texts.

    Args:
        run: Run directory.

    Returns:
        ``task``, ``language``, ``cell`` (path below ``scores/`` without suffix), ``id``, ``group``,
        the metrics' columns (float32) and, of tasks with classes, ``prediction``.

    Raises:
        InputError: If nothing was scored there.
    """
    folder = Path(run) / "scores"
    parts = []
    for path in sorted(folder.rglob("*.parquet")):
        if any(part.endswith(".parts") for part in path.parts):
            continue
        scores = Scores.load(path)
        columns = [column_of(metric) for metric in scores.metrics]
        kept = ["prediction"] if "correct" in columns else []
        part = scores.rows[["id", "group", *kept, *columns]]
        part = part.astype(dict.fromkeys(columns, "float32"))
        cell = path.relative_to(folder).with_suffix("").as_posix()
        parts.append(part.assign(task=scores.task, language=scores.lang, cell=cell))
    if not parts:
        raise InputError(f"no scores below {str(folder)!r}: give a run of a study with tasks.")
    table = pd.concat(parts, ignore_index=True)
    names = [*_CELL, "group", *(["prediction"] if "prediction" in table else [])]
    return table.astype(dict.fromkeys(names, "category"))


def read_items(path: str | Path) -> dict[str, Scores]:
    """Scores by cell, from what :func:`gather_items` gave; they compare like any."""
    found = {}
    for (task, language, cell), rows in read_table(Path(path)).groupby(
        _CELL, observed=True, sort=False
    ):
        kept = rows.drop(columns=_CELL).dropna(axis=1, how="all").reset_index(drop=True)
        texts = [name for name in ("group", "prediction") if name in kept]
        kept = kept.astype(dict.fromkeys(texts, "str"))
        names = [name for name in kept.columns if name not in ("id", "group", "prediction")]
        metrics = tuple("accuracy" if name == "correct" else str(name) for name in names)
        found[str(cell)] = Scores(str(task), str(language), metrics, kept)
    return found


def most_called(items: pd.DataFrame) -> pd.DataFrame:
    """The class given most often in each cell of a task with classes.

    A classifier that gives every example one class is at the floor, whatever its accuracy is.

    Args:
        items: What :func:`gather_items` gives.

    Returns:
        One row a cell: ``task``, ``language``, ``cell``, ``most``, ``times`` and ``n``.
    """
    rows: list[dict[str, object]] = []
    if "prediction" in items:
        known = items[items["prediction"].notna()]
        for key, group in known.groupby(_CELL, observed=True, sort=False):
            counted = group["prediction"].value_counts()
            rows.append(
                {
                    **dict(zip(_CELL, key, strict=True)),
                    "most": str(counted.index[0]),
                    "times": int(counted.iloc[0]),
                    "n": len(group),
                }
            )
    return pd.DataFrame(rows, columns=[*_CELL, "most", "times", "n"])
