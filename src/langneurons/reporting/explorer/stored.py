"""What a run directory holds for the explorer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from langneurons.artifacts import read_table

TABLES = ("units", "distributions", "passages", "neighbours")


@dataclass(frozen=True)
class Explored:
    """One neuron set as the explorer shows it; see :func:`langneurons.reporting.explorer.explore`.

    Attributes:
        units: layer, index, language, score; one row a unit and language.
        distributions: layer, index, language, histogram and summary.
        passages: layer, index, rank, language, activation, before, token, after.
        neighbours: layer, index, rank, other_layer, other_index, correlation.
    """

    units: pd.DataFrame
    distributions: pd.DataFrame
    passages: pd.DataFrame
    neighbours: pd.DataFrame


def read_explored(folder: Path, names: Iterable[str]) -> dict[str, Explored]:
    """Sets of a run that the explorer can show, by name, in the order given.

    Args:
        folder: ``passages`` of a run directory.
        names: Neuron sets of the run.

    Raises:
        ArtifactError: If a file is damaged.
    """
    found = {}
    for name in names:
        files = {table: folder / name / f"{table}.parquet" for table in TABLES}
        inside = (folder / name).resolve().parent == folder.resolve()
        if inside and all(path.is_file() for path in files.values()):
            found[name] = Explored(**{key: read_table(path) for key, path in files.items()})
    return found
