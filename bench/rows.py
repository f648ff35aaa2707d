"""The per-example rows of a run beside its record, so that a later correction needs no new run.

``python -m bench.rows RUN RECORD`` writes ``bench/results/RECORD.rows.parquet``: of every cell and
example the id, the group, what was scored, and nothing else (texts stay where they are).
:func:`read` gives the scores back, which compare, correct and print like any.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from langneurons.artifacts import read_table, write_table
from langneurons.evaluation import Scores
from langneurons.evaluation.metrics import column_of

RESULTS = Path(__file__).parent / "results"
_CELL = ["task", "language", "cell"]


def gather(run: Path) -> pd.DataFrame:
    """Rows of all scores of a run.

    Args:
        run: Run directory.

    Returns:
        ``task``, ``language``, ``cell`` (path below ``scores/`` without suffix), ``id``, ``group``
        and the metrics' columns, float32.
    """
    parts = []
    for path in sorted((run / "scores").rglob("*.parquet")):
        if any(part.endswith(".parts") for part in path.parts):
            continue
        scores = Scores.load(path)
        columns = [column_of(metric) for metric in scores.metrics]
        cell = str(path.relative_to(run / "scores").with_suffix(""))
        part = scores.rows[["id", "group", *columns]].astype(dict.fromkeys(columns, "float32"))
        parts.append(part.assign(task=scores.task, language=scores.lang, cell=cell))
    if not parts:
        raise SystemExit(f"no scores below {run / 'scores'}")
    table = pd.concat(parts, ignore_index=True)
    return table.astype(dict.fromkeys([*_CELL, "group"], "category"))


def read(path: Path) -> dict[str, Scores]:
    """Scores by cell, from what :func:`gather` found."""
    table = read_table(path)
    found = {}
    for (task, language, cell), rows in table.groupby(_CELL, observed=True, sort=False):
        kept = rows.drop(columns=_CELL).dropna(axis=1, how="all").reset_index(drop=True)
        kept["group"] = kept["group"].astype(str)
        names = [name for name in kept.columns if name not in ("id", "group")]
        metrics = tuple("accuracy" if name == "correct" else str(name) for name in names)
        found[str(cell)] = Scores(str(task), str(language), metrics, kept)
    return found


def main(run: Path, record: str) -> None:
    path = RESULTS / f"{record}.rows.parquet"
    write_table(path, gather(run))
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
