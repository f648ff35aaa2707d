"""Several models beside each other: layer profiles on relative depth, and overlap where it fits.

Models differ in depth and width, so units cannot be matched; where in the depth of a model a
language's units lie can. Only models of one shape (a model and its fine-tuned self, two sizes that
agree) have units with the same names.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from langneurons.artifacts import read_json, read_table
from langneurons.errors import InputError
from langneurons.identification import NeuronSet, Units
from langneurons.identification.overlap import overlap

BINS = 10


def read_runs(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Run directories by name; a folder of several (a series) stands for all of them.

    Raises:
        InputError: If a folder is no run directory and holds none.
    """
    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        inside = [folder] if (folder / "run.json").is_file() else sorted(
            path.parent for path in folder.glob("*/run.json")
        )  # fmt: skip
        if not inside:
            raise InputError(
                f"{str(folder)!r} is no run directory and holds none: give the folders that "
                "`langneurons run -o DIR` wrote."
            )
        for path in inside:
            name = path.name if path.name not in found else str(path)
            found[name] = path
    return found


def profile(units: Units, layers: int, bins: int = BINS) -> NDArray[np.float64]:
    """Share of the units in each part of the depth, float64 (bins,), summing to 1.

    A layer l of L covers the depths l / L to (l + 1) / L; its units are spread evenly over the
    parts it touches, so that models of different depth compare. NaN where there is no unit.
    """
    share = np.zeros(bins)
    counts = np.bincount(units.layers.numpy(), minlength=layers)
    edges = np.linspace(0, 1, bins + 1)
    for layer, count in enumerate(counts):
        low, high = layer / layers, (layer + 1) / layers
        covered = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
        share += count * covered * layers
    total = share.sum()
    return share / total if total else np.full(bins, np.nan)


def compare(runs: Mapping[str, Path], bins: int = BINS) -> dict[str, pd.DataFrame]:
    """Tables over several runs.

    Args:
        runs: Name to run directory.
        bins: Parts of the depth.

    Returns:
        ``models`` (run, model, architecture, layers, units, and per neuron set and language the
        number of units and, where measured, the perplexity ratio on its own text with interval and
        the largest of the controls); ``profiles`` (run, neurons, language, depth, share);
        ``similarity`` (pairs of runs: Spearman correlation of two profiles); ``overlap`` (pairs
        of runs of one shape: shared units beside chance).
    """
    sets = {name: _sets(path) for name, path in runs.items()}
    return {
        "models": pd.DataFrame(
            [row for name, path in runs.items() for row in _models(name, path, sets[name])]
        ),
        "profiles": pd.DataFrame(
            [
                {"run": run, "neurons": name, "language": lang, "depth": (place + 0.5) / bins,
                 "share": share}
                for run, found in sets.items()
                for name, item in found.items()
                for lang, units in item.items()
                for place, share in enumerate(profile(units, item.shape[0], bins))
            ]
        ),
        "similarity": pd.DataFrame(_pairs(sets, _similar, bins)),
        "overlap": pd.DataFrame(_pairs(sets, _shared, bins)),
    }  # fmt: skip


def _sets(path: Path) -> dict[str, NeuronSet]:
    return {file.stem: NeuronSet.load(file) for file in sorted((path / "neurons").glob("*.json"))}


def _models(name: str, path: Path, sets: Mapping[str, NeuronSet]) -> list[dict[str, Any]]:
    model = read_json(path / "run.json").get("model", {})
    table = path / "tables" / "perplexity.parquet"
    measured = read_table(table) if table.is_file() else None
    rows = []
    for neurons, found in sets.items():
        for lang, units in found.items():
            row: dict[str, Any] = {
                "run": name,
                "model": str(model.get("name", "")),
                "architecture": str(model.get("architecture", "")),
                "layers": found.shape[0],
                "units": found.shape[1],
                "neurons": neurons,
                "site": found.site,
                "language": lang,
                "found": len(units),
            }
            rows.append(row | _effect(measured, neurons, lang))
    return rows


def _effect(table: pd.DataFrame | None, neurons: str, lang: str) -> dict[str, float]:
    names = ("ratio", "low", "high", "largest_control")
    if table is None:
        return dict.fromkeys(names, float("nan"))
    cell = (table["neurons"] == neurons) & (table["row"] == lang) & (table["column"] == lang)
    own = table[cell & (table["kind"] == "own")]
    if own.empty:
        return dict.fromkeys(names, float("nan"))
    control = table[cell & (table["kind"] != "own")]["ratio"]
    first = own.iloc[0]
    values = (first["ratio"], first["low"], first["high"], control.max())
    return dict(zip(names, map(float, values), strict=True))


def _pairs(sets: Mapping[str, Mapping[str, NeuronSet]], make: Any, bins: int) -> list[Any]:
    rows = []
    for first, second in itertools.combinations(sets, 2):
        for neurons in sets[first]:
            a, b = sets[first][neurons], sets[second].get(neurons)
            if b is None or a.site != b.site:
                continue
            for lang in a:
                if lang in b:
                    made = make(a, b, lang, bins)
                    if made is not None:
                        rows.append(
                            {"run_a": first, "run_b": second, "neurons": neurons,
                             "language": lang, **made}
                        )  # fmt: skip
    return rows


def _similar(a: NeuronSet, b: NeuronSet, lang: str, bins: int) -> dict[str, float] | None:
    first, second = (profile(item[lang], item.shape[0], bins) for item in (a, b))
    if np.isnan(first).any() or np.isnan(second).any():
        return None
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    found = spearmanr(first, second)
    return {"rho": float(found.statistic), "p_value": float(found.pvalue)}


def _shared(a: NeuronSet, b: NeuronSet, lang: str, bins: int) -> dict[str, float] | None:
    return overlap(a[lang], b[lang], a.shape) if a.shape == b.shape else None
