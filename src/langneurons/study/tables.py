"""The tables of a run: every aggregate recomputed from the artifacts, with interval and test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from langneurons.artifacts import read_json, read_table, write_table
from langneurons.study.schema import adapter_units
from langneurons.study.workshop import Workshop

if TYPE_CHECKING:
    from langneurons.evaluation import Scores

LEVEL = 0.95


def write(workshop: Workshop, output: Path) -> None:
    """Write all tables of a run that its artifacts allow.

    Args:
        workshop: The run.
        output: Folder of the tables.
    """
    made = {
        "neurons": neurons(workshop),
        "overlap": _read(workshop.out / "overlap.parquet"),
        "perplexity": _gather(workshop.out / "perplexity"),
        "scores": scores(workshop),
        "finetuning": finetuning(workshop),
        "rules": _gather(workshop.out / "rules"),
    }
    for name, table in made.items():
        if len(table):
            write_table(output / f"{name}.parquet", table)


def _read(path: Path) -> pd.DataFrame:
    return read_table(path) if path.is_file() else pd.DataFrame()


def _gather(folder: Path) -> pd.DataFrame:
    found = [read_table(path) for path in sorted(folder.rglob("*.parquet"))]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def neurons(workshop: Workshop) -> pd.DataFrame:
    """Units of each set by language and layer, with the number of units a layer has."""
    found = []
    for name in workshop.config.neurons:
        if (workshop.out / "neurons" / f"{name}.json").is_file():
            found.append(workshop.neurons(name).per_layer().assign(neurons=name))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def finetuning(workshop: Workshop) -> pd.DataFrame:
    """One row an adapter: what learnt, for how long, and to which loss."""
    rows = []
    for path in sorted((workshop.out / "adapters").glob("*/*/langneurons.json")):
        record = read_json(path)
        name = path.parent.name
        spec = workshop.config.adapters[name]
        rows.append(
            {
                "adapter": name,
                "task": path.parent.parent.name,
                "train_language": record["lang"],
                "units": " + ".join(adapter_units(spec)),
                "attention": spec.attention,
                "seed": spec.seed,
                "trainable": record["trainable"],
                "seconds": record["seconds"],
                "loss": record["losses"][-1]["loss"] if record["losses"] else None,
            }
        )
    return pd.DataFrame(rows)


def scores(workshop: Workshop) -> pd.DataFrame:
    """One row a cell and metric: the score, and its paired difference to what it stands against.

    An intervention stands against no intervention under the same adapter; an adapter without
    intervention stands against the adapter that trains no MLP units. Holm's correction runs over
    the cells of one task, metric and kind of comparison.
    """
    from langneurons.evaluation import holm

    found = _load_scores(workshop)
    rows: list[dict[str, Any]] = []
    for (task, adapter, language, label), scored in found.items():
        cell = _cell(label)
        against = _against(workshop, found, task, adapter, language, cell)
        for metric in scored.metrics:
            rows.append(
                {
                    "task": task,
                    "adapter": adapter,
                    "language": language,
                    "metric": metric,
                    **cell,
                    **_numbers(scored, metric, against[1]),
                    "against": against[0],
                }
            )
    table = pd.DataFrame(rows)
    if len(table):
        table["p_holm"] = table.groupby(["task", "metric", "against"])["p_value"].transform(holm)
    return table


def _load_scores(workshop: Workshop) -> dict[tuple[str, str, str, str], Scores]:
    from langneurons.evaluation import Scores

    root = workshop.out / "scores"
    found = {}
    for path in sorted(root.glob("*/*/*/*.parquet")):
        task, adapter, language, _ = path.relative_to(root).parts
        found[task, adapter, language, path.stem] = Scores.load(path)
    return found


def _cell(label: str) -> dict[str, Any]:
    if label == "none":
        return {"intervention": "none", "units": "-", "neurons": "-", "seed": 0}
    # The label is VALUE-KIND-SET[-SEED] and a value may be negative, a set may hold a dash.
    value, kind, rest = _split_label(label)
    seed = 0
    if kind != "own":
        rest, _, number = rest.rpartition("-")
        seed = int(number)
    return {"intervention": value, "units": kind, "neurons": rest, "seed": seed}


def _split_label(label: str) -> tuple[str, str, str]:
    for kind in ("own", "random", "matched"):
        value, found, rest = label.partition(f"-{kind}-")
        if found:
            return value, kind, rest
    raise ValueError(f"no cell is called {label!r}")


def _against(
    workshop: Workshop,
    found: dict[tuple[str, str, str, str], Scores],
    task: str,
    adapter: str,
    language: str,
    cell: dict[str, Any],
) -> tuple[str, Scores | None]:
    if cell["intervention"] != "none":
        return "no intervention", found.get((task, adapter, language, "none"))
    plain = [
        name
        for name, spec in workshop.config.adapters.items()
        if adapter_units(spec) == ["none"] and name != adapter
    ]
    if not plain:
        return "-", None
    return f"adapter {plain[0]}", found.get((task, plain[0], language, "none"))


def _numbers(scored: Scores, metric: str, other: Scores | None) -> dict[str, Any]:
    from langneurons.evaluation import compare

    low, high = scored.interval(metric, level=LEVEL)
    row: dict[str, Any] = {
        "n": len(scored.rows),
        "value": scored.value(metric),
        "low": low,
        "high": high,
        "chance": scored.chance(metric),
    }
    if other is None:
        return row
    change = compare(scored, other, metric=metric, level=LEVEL)
    return {
        **row,
        "difference": change.difference,
        "difference_low": change.low,
        "difference_high": change.high,
        "p_value": change.p_value,
        "mde": change.minimum_detectable_effect,
    }
