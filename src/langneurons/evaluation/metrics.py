"""Metrics by name: which column of the rows each is the mean of, and what its values are."""

from __future__ import annotations

RIGHT_OR_WRONG = frozenset(
    {"accuracy", "exact_match", "exact_match_ids", "latin", "own_script", "acc", "acc_norm"}
)
"""Metrics whose value for an example is 0 or 1 by definition; ``acc`` is the harness's."""


def column_of(metric: str) -> str:
    """Column of the rows that a metric is the mean of: its own name, ``correct`` for accuracy."""
    return "correct" if metric == "accuracy" else metric
