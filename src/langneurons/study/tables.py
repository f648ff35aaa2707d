"""The tables of a run: every aggregate that a part makes from the artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path

from langneurons.artifacts import write_table
from langneurons.interface.part import ordered
from langneurons.interface.workshop import Workshop


def write(workshop: Workshop, output: Path) -> None:
    """Write all tables of a run that its artifacts allow.

    Args:
        workshop: The run.
        output: Folder of the tables; the last ones stand in it until the new ones are whole.
    """
    results = workshop.results
    fresh, old = (output.with_name(f".part-{output.name}-{word}") for word in ("new", "old"))
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    fresh.mkdir(parents=True)
    for part in ordered():
        for name, table in results.tables_of(part).items():
            if len(table):
                write_table(fresh / f"{name}.parquet", table)
    if output.exists():
        output.rename(old)
    fresh.rename(output)
    shutil.rmtree(old, ignore_errors=True)
