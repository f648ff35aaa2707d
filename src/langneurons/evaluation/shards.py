"""Finished parts of an evaluation on disk, so that a killed one goes on where it stopped."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from langneurons.artifacts import read_json, read_table, write_json, write_table
from langneurons.errors import ArtifactError, InputError

T = TypeVar("T")

SHARD = 512
"""Examples in a part."""


def parts_folder(output: Path) -> Path:
    """Where the parts of a result lie until it is complete."""
    return output.with_name(output.name + ".parts")


def run_in_shards(
    items: Sequence[T],
    work: Callable[[Sequence[T]], list[dict[str, Any]]],
    *,
    folder: Path | None,
    key: str,
    size: int = SHARD,
    skipped: Callable[[int], None] = lambda count: None,
) -> pd.DataFrame:
    """Rows of all items, in order; parts that are on disk under the same key are not made again.

    Args:
        items: What to work on.
        work: Makes the rows of some items.
        folder: Where parts are kept; None keeps nothing.
        key: What determines the rows; parts of another key or size are thrown away.
        size: Items in a part.
        skipped: Told of each part that was there, with its number of items.
    """
    if folder is not None:
        _prepare(folder, f"{key}/{size}")
    tables = []
    for number, start in enumerate(range(0, len(items), size)):
        part = items[start : start + size]
        path = None if folder is None else folder / f"{number:05d}.parquet"
        table = _read(path, len(part))
        if table is None:
            table = pd.DataFrame(work(part))
            if path is not None:
                write_table(path, table)
        else:
            skipped(len(part))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _prepare(folder: Path, key: str) -> None:
    with contextlib.suppress(InputError, ArtifactError):
        if read_json(folder / "key.json").get("key") == key:
            return
    shutil.rmtree(folder, ignore_errors=True)
    write_json(folder / "key.json", {"key": key})


def _read(path: Path | None, count: int) -> pd.DataFrame | None:
    if path is None or not path.is_file():
        return None
    with contextlib.suppress(ArtifactError):
        table = read_table(path)
        if len(table) == count:
            return table
    return None
