"""Precision and recall of every method on a model whose language units were planted.

``python -m bench.planted`` prints the table of docs/identification.md.
"""

from __future__ import annotations

import warnings
from typing import Any

from rich.console import Console
from rich.table import Table

from bench._planting import LANGUAGES, LAYERS, PURE, Plant, plant, recovery
from langneurons.identification import METHODS, identify
from langneurons.statistics import Statistics, collect

SIZE = PURE * LAYERS


def options(name: str) -> dict[str, Any]:
    """A method's options on this small model; the rest are its defaults."""
    if name == "transfer":
        return {"top": SIZE, "layers": (0, LAYERS)}
    return {"split_half": False} if name == "activation_probability" else {}


def score(planted: Plant, statistics: Statistics, name: str, **more: Any) -> list[str]:
    """Mean precision, recall, and what else was found: a table's cells."""
    found = identify(
        statistics, name, model=planted.lm, texts=planted.texts, **options(name), **more
    )
    table = recovery(found, planted)
    cells = [f"{table['precision'].mean():.2f}", f"{table['recall'].mean():.2f}"]
    return [*cells, *(str(int(table[kind].sum())) for kind in ("pair", "other", "content"))]


def run(console: Any) -> None:
    """Print the table."""
    planted = plant()
    statistics = collect(planted.lm, planted.texts, rows=1024)
    heads = ("method", "number", "precision", "recall", "pair", "other", "content")
    table = Table(*heads, title=f"{SIZE} units planted for each of {len(LANGUAGES)} languages")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name in METHODS:
            table.add_row(name, "as planted", *score(planted, statistics, name, per_language=SIZE))
            table.add_row(name, "default", *score(planted, statistics, name))
    console.print(table)


if __name__ == "__main__":
    run(Console(width=100))
