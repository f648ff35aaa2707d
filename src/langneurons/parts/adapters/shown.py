"""Masked LoRA: what was trained, and what it gave."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from langneurons.parts.adapters.comparisons import References, adapters, target_of
from langneurons.parts.tasks.comparisons import primary
from langneurons.reporting.aggregate import LEVEL
from langneurons.reporting.tables.base import Column, Table

_DIFFERENCE = Column(
    "difference", "difference, points", "number", 1, ("low", "high"), True, "significant"
)


def trained(table: pd.DataFrame) -> Table:
    """The adapters of the run.

    Args:
        table: The ``finetuning`` table.
    """
    return Table(
        "finetuning",
        "Adapters trained",
        "Adapters: task and language trained on, units whose rows were trained, trainable "
        "parameters, training time and last loss.",
        table,
        [
            Column("adapter", "adapter"),
            Column("task", "task"),
            Column("train_language", "trained on"),
            Column("units", "units"),
            *([Column("shots", "examples added")] if _any(table, "shots") else []),
            Column("seed", "seed"),
            Column("trainable", "trainable parameters", "count"),
            Column("seconds", "seconds", "number", 0),
            Column("loss", "last loss", "number", 3),
        ],
    )


def _any(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].fillna("").astype(str).ne("").any())


def supervised(table: pd.DataFrame) -> Table:
    """Curves over examples of the target language.

    Args:
        table: The ``supervision`` table.
    """
    data = table.assign(significant=(table["p_holm"] < LEVEL).fillna(False).astype(bool))
    return Table(
        "supervision",
        "Supervision in the target language",
        "Scores of a language after training with so many of its own examples beside the training "
        "language's, by the units that learn, and the paired difference in points to training no "
        "MLP units on the same examples, with interval; an asterisk marks p < "
        f"{LEVEL} after Holm's correction. These are no transfer scores: they stand nowhere else.",
        data.rename(columns={"difference_low": "d_low", "difference_high": "d_high"}),
        [
            Column("task", "task"),
            Column("language", "language"),
            Column("metric", "metric"),
            Column("units", "units that learn"),
            Column("shots", "examples", "count"),
            Column("seed", "seed"),
            Column("n", "n", "count"),
            Column("value", "score, %", "number", 1, ("low", "high")),
            Column(
                "difference", "difference, points", "number", 1, ("d_low", "d_high"), True,
                "significant",
            ),
            Column("p_holm", "p, Holm", "p"),
            Column("mde", "detectable, points", "number", 1),
        ],
    )  # fmt: skip


def compared(
    scores: pd.DataFrame,
    paired: pd.DataFrame | None = None,
    trained_on: Collection[str] = (),
    compared_with: References | None = None,
) -> Table | None:
    """Adapters against no units and random ones; None where nothing can be compared.

    Args:
        scores: The ``scores`` table.
        paired: The ``adapters`` table, where there is one.
        trained_on: Languages left out.
        compared_with: Names of the reference adapters.
    """
    base = compared_with or References()
    kinds = (base.none, base.random, base.matched)
    parts = [adapters(scores, names, paired, trained_on) for names in kinds]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    data = pd.concat(parts, ignore_index=True)
    data["adapter"] = [
        target_of(str(name), str(lang))
        for name, lang in zip(data["adapter"], data["language"], strict=True)
    ]
    how = (
        "on the same examples, p-values after Holm's correction"
        if data["paired"].all()
        else "put together from the two scores' own intervals (unpaired, hence wide), p-values "
        "after Bonferroni's correction"
    )
    return Table(
        "adapters",
        "Adapters compared",
        "Masked LoRA against training no MLP units and against as many random units (matched: of "
        "the same activity), without "
        f"intervention, on languages not trained on: difference in points, {how}; an asterisk "
        f"marks p < {LEVEL}. Detectable: smallest difference the comparison could have shown with "
        "80 % power.",
        data,
        [
            Column("task", "task"),
            Column("language", "language"),
            Column("metric", "metric"),
            Column("adapter", "adapter"),
            Column("reference", "against"),
            Column("n", "n", "count"),
            Column("value", "score, %", "number", 1),
            Column("reference_value", "reference, %", "number", 1),
            _DIFFERENCE,
            Column("p_adjusted", "p, adjusted", "p"),
            Column("mde", "detectable, points", "number", 1),
            Column("at_chance", "both at chance", "flag"),
        ],
    )


def over_seeds(seeds: pd.DataFrame, trained_on: Collection[str] = ()) -> Table | None:
    """Adapters against their references with the spread between seeds as the yardstick.

    Args:
        seeds: The ``adapter_seeds`` table.
        trained_on: Languages left out.
    """
    data = primary(seeds) if len(seeds) else seeds
    data = data[~data["language"].isin(list(trained_on))].copy()
    if data.empty:
        return None
    data["significant"] = (data["p_holm"] < LEVEL).fillna(False).astype(bool)
    return Table(
        "adapter_seeds",
        "Adapters compared over seeds",
        "Masked LoRA against its references, trained with the same seeds: mean difference in "
        "points with its t interval over seeds, and the spread of the difference between seeds. "
        "This interval speaks of another training, the one over examples of these trainings. An "
        f"asterisk marks p < {LEVEL} after Holm's correction. Detectable: smallest true difference "
        "that so many seeds find with 80 % power.",
        data,
        [
            Column("task", "task"),
            Column("language", "language"),
            Column("metric", "metric"),
            Column("adapter", "adapter"),
            Column("reference", "against"),
            Column("seeds", "seeds", "count"),
            _DIFFERENCE,
            Column("std", "spread, points", "number", 1),
            Column("p_holm", "p, Holm", "p"),
            Column("detectable", "detectable, points", "number", 1),
        ],
    )
