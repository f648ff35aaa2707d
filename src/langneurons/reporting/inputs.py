"""What a report is made from: a run directory's JSON files and tables, checked on reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langneurons.artifacts import read_json, read_table
from langneurons.errors import ArtifactError, InputError
from langneurons.reporting.columns import Columns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A finished (or half-finished) run as the report sees it.

    Attributes:
        folder: The run directory.
        info: ``run.json``: name, model, languages, command, stages and resolved parameters.
        environment: ``environment.json``: versions and device; empty where there is none.
        tables: Table name to table; absent and empty tables are not in it.
        columns: Tables that the parts of a study claim, with what they say of them.
    """

    folder: Path
    info: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    columns: Mapping[str, Columns] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame | None:
        """The table called ``name``, or None where the run has none."""
        return self.tables.get(name)

    def names(self, table: str, column: str) -> list[str]:
        """What a column of a table names, in order; empty where the run has no such table."""
        found = self.table(table)
        return [] if found is None else [str(name) for name in found[column].unique()]


def read_run(folder: str | Path, columns: Mapping[str, Columns]) -> Run:
    """Read a run directory.

    Args:
        folder: Directory with ``run.json`` and ``tables/*.parquet``.
        columns: Tables that are known, with the columns they must have.

    Returns:
        The run; tables that are not known are kept as they are.

    Raises:
        InputError: If the folder is no run directory.
        ArtifactError: If a file is damaged or a table lacks a column.
    """
    root = Path(folder)
    if not (root / "run.json").is_file():
        raise InputError(
            f"{str(root)!r} is no run directory (it has no run.json): "
            "give the folder that `langneurons run -o DIR` wrote."
        )
    environment = root / "environment.json"
    tables = {}
    for path in sorted((root / "tables").glob("*.parquet")):
        known = columns.get(path.stem, Columns())
        table = read_table(path).rename(columns=dict(known.old))
        missing = known.missing(table.columns)
        if missing:
            raise ArtifactError(
                f"table {str(path)!r} lacks the column(s) {', '.join(missing)}: "
                "it was written by another version; run the study again."
            )
        if len(table):
            tables[path.stem] = _numeric(table, known.numbers.split())
    return Run(
        folder=root,
        info=read_json(root / "run.json"),
        environment=read_json(environment) if environment.is_file() else {},
        tables=tables,
        columns=columns,
    )


def _numeric(table: pd.DataFrame, numbers: list[str]) -> pd.DataFrame:
    """A table with its numbers as numbers."""
    import pandas as pd

    return table.assign(**{key: pd.to_numeric(table[key], errors="coerce") for key in numbers})
