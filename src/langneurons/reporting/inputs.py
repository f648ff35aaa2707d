"""What a report is made from: a run directory's JSON files and tables, checked on reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from langneurons.artifacts import read_json, read_table
from langneurons.errors import ArtifactError, InputError
from langneurons.reporting.explorer.stored import Explored, read_explored

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "neurons": ("neurons", "language", "layer", "units", "total"),
        "overlap": (
            *("a", "b", "language_a", "language_b", "size_a", "size_b"),
            *("shared", "jaccard", "expected", "p_value"),
        ),
        "perplexity": (
            *("neurons", "row", "column", "kind", "seed", "value", "units"),
            *("perplexity", "baseline", "ratio", "low", "high", "documents", "tokens"),
        ),
        "scores": (
            *("task", "adapter", "language", "metric", "intervention", "units", "neurons"),
            *("seed", "n", "value", "low", "high", "difference", "difference_low"),
            *("difference_high", "p_value", "p_holm", "mde", "chance"),
        ),
        "rules": ("task", "language", "rule", "subset", "metric", "value", "n"),
        "planning": ("of", "name", "lang", "size", "detectable", "needed"),
        "odd_rows": (
            *("task", "language", "n", "no_gold", "romanised", "replaced", "english", "cut"),
        ),
        "finetuning": (
            *("adapter", "task", "train_language", "units", "seed"),
            *("trainable", "seconds", "loss"),
        ),
        "adapters": (
            *("task", "language", "metric", "adapter", "reference", "n"),
            *("difference", "low", "high", "p_holm", "mde"),
        ),
        "adapter_seeds": (
            *("task", "language", "metric", "adapter", "reference", "seeds"),
            *("difference", "std", "low", "high", "p_holm", "detectable"),
        ),
        "adapter_sets": (
            *("task", "language", "metric", "attention", "sets", "seeds"),
            *("f", "p_value", "p_holm", "std", "df", "detectable"),
        ),
        "sweep": ("value", "units", "language", "kind", "ratio", "low", "high"),
        "unit_effects": ("language", "layer", "index", "ratio"),
        "forcing": ("off", "on", "language_detected", "share", "n"),
        "fallback": (
            *("start", "step", "removed", "kind", "seed", "language_detected"),
            *("share", "low", "high", "n"),
        ),
        "deactivation": (
            *("neurons", "language", "value", "kind", "ratio", "low", "high"),
            *("unusual", "impossible"),
        ),
        "residual": ("neurons", "language", "value", "kind", "layer", "quantity", "change"),
        "crossing": (
            *("neurons", "language", "value", "kind", "reading", "ratio", "low", "high"),
            *("impossible", "share", "share_low", "share_high"),
        ),
        "polysemanticity": (
            *("neurons", "language", "task", "carries", "own", "matched"),
            *("difference", "low", "high", "units", "controls"),
        ),
        "polysemanticity_harm": (
            *("neurons", "language", "task", "kind", "harm_with", "given"),
            *("rho", "low", "high", "units"),
        ),
    }
)
"""Tables the report knows, with the columns it needs; each table may be absent."""


TEXT = frozenset(
    {
        *("neurons", "language", "a", "b", "language_a", "language_b", "row", "column", "kind"),
        *("value", "task", "adapter", "metric", "intervention", "units", "rule", "subset"),
        *("train_language", "reference", "off", "on", "language_detected", "seed"),
        *("of", "name", "lang", "quantity", "reading", "carries", "harm_with", "given"),
        *("start", "removed"),
    }
)
"""Columns of known tables that are kept as they are; all others are numbers."""

_NUMBERS = {
    "neurons": {"units"},
    "perplexity": {"units"},
    "scores": {"value"},
    "rules": {"value"},
    "polysemanticity": {"units"},
    "polysemanticity_harm": {"units"},
}
_OVERLAP = {
    "language": "language_a",
    "other": "language_b",
    "size": "size_a",
    "other_size": "size_b",
}


def named_overlap(table: pd.DataFrame) -> pd.DataFrame:
    """The table of :meth:`NeuronSet.overlap` with the names of a table of two sets.

    Args:
        table: The table; one with these names already is left as it is.
    """
    return table.rename(columns=_OVERLAP)


@dataclass(frozen=True)
class Run:
    """A finished (or half-finished) run as the report sees it.

    Attributes:
        folder: The run directory.
        info: ``run.json``: name, model, languages, command, stages and resolved parameters.
        environment: ``environment.json``: versions and device; empty where there is none.
        tables: Table name to table; absent and empty tables are not in it.
        units: One row a unit of every neuron set: neurons, language, layer, index; None where the
            run directory holds no neuron sets.
        explored: Neuron sets the explorer can show.
    """

    folder: Path
    info: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    units: pd.DataFrame | None = None
    explored: Mapping[str, Explored] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame | None:
        """The table called ``name``, or None where the run has none."""
        return self.tables.get(name)


def read_run(folder: str | Path) -> Run:
    """Read a run directory.

    Args:
        folder: Directory with ``run.json`` and ``tables/*.parquet``.

    Returns:
        The run; tables the report does not know are kept and shown as they are.

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
        table = read_table(path)
        if path.stem == "overlap":
            table = named_overlap(table)
        missing = [name for name in COLUMNS.get(path.stem, ()) if name not in table.columns]
        if missing:
            raise ArtifactError(
                f"table {str(path)!r} lacks the column(s) {', '.join(missing)}: "
                "it was written by another version; run the study again."
            )
        if len(table):
            tables[path.stem] = _numeric(path.stem, table)
    neurons = tables.get("neurons")
    names = [] if neurons is None else [str(name) for name in neurons["neurons"].unique()]
    return Run(
        folder=root,
        info=read_json(root / "run.json"),
        environment=read_json(environment) if environment.is_file() else {},
        tables=tables,
        units=_units(root / "neurons", names),
        explored=read_explored(root / "passages", names),
    )


def _numeric(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """A known table with its numbers as numbers: a column of only missing values has no type."""
    import pandas as pd

    kept = TEXT - _NUMBERS.get(name, set())
    numbers = [column for column in COLUMNS.get(name, ()) if column not in kept]
    return table.assign(**{key: pd.to_numeric(table[key], errors="coerce") for key in numbers})


def _units(folder: Path, names: list[str]) -> pd.DataFrame | None:
    """Members of the neuron sets the ``neurons`` table names, where their files are there."""
    import pandas as pd

    files = {name: folder / f"{name}.json" for name in names}
    files = {name: path for name, path in files.items() if path.parent == folder and path.is_file()}
    if not files:
        return None
    from langneurons.identification import NeuronSet

    parts = []
    for name, path in files.items():
        for language, found in NeuronSet.load(path).items():
            part = pd.DataFrame({"layer": found.layers.numpy(), "index": found.indices.numpy()})
            parts.append(part.assign(neurons=name, language=language))
    return pd.concat(parts, ignore_index=True)
