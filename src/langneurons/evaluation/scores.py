"""Scores: one row an example, from which every aggregate is computed anew."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from langneurons.artifacts import read_table, write_table
from langneurons.display import Displayed
from langneurons.errors import ArtifactError, InputError
from langneurons.evaluation.intervals import ratio_interval, share_interval
from langneurons.evaluation.metrics import column_of

_COLUMNS = ("id", "group")


@dataclass
class Scores(Displayed):
    """The result of one evaluation.

    Attributes:
        task: Name of the task.
        lang: Language of the examples.
        metrics: Names of the metrics, each the mean over rows, in %.
        rows: One row an example: ``id``, ``group``, ``prediction``, ``gold``, the metrics'
            columns (``correct``, or ``exact_match`` and ``f1``; nan where the gold answer is not
            known), ``cut`` (characters of the context left out), ``log_likelihoods`` where there
            are any, and further facts of the example.
        details: How it came about: model, adapter, intervention, split, options, counts.
        guess: Score of a random guesser by metric in %.
    """

    task: str
    lang: str
    metrics: tuple[str, ...]
    rows: pd.DataFrame
    details: dict[str, Any] = field(default_factory=dict)
    guess: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [
            column
            for column in (*_COLUMNS, *map(column_of, self.metrics))
            if column not in self.rows.columns
        ]
        if missing:
            raise InputError(
                f"scores of {self.task} lack the column {missing[0]!r}: evaluate again."
            )

    def _values(self, metric: str) -> NDArray[np.float64]:
        if metric not in self.metrics:
            raise InputError(
                f"{self.task} has no metric {metric!r}; it has {', '.join(self.metrics)}."
            )
        column = self.rows[column_of(metric)]
        values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return values

    @property
    def n(self) -> int:
        """Examples with a known gold answer."""
        return int(np.isfinite(self._values(self.metrics[0])).sum())

    def value(self, metric: str | None = None) -> float:
        """The metric in %, over examples with a known gold answer; nan where there is none."""
        values = self._values(metric or self.metrics[0])
        known = np.isfinite(values)
        return float(100 * values[known].mean()) if known.any() else float("nan")

    def interval(self, metric: str | None = None, level: float = 0.95) -> tuple[float, float]:
        """Interval of the metric in %, over groups of examples.

        Wilson's, see :func:`~langneurons.evaluation.intervals.share_interval`; a t interval for
        metrics of lm-evaluation-harness that do not lie between 0 and 1.
        """
        values = self._values(metric or self.metrics[0])
        known = np.isfinite(values)
        given, groups = values[known], self.rows["group"].to_numpy()[known]
        if len(given) and (given.min() < 0 or given.max() > 1):
            return ratio_interval(
                100 * given, np.ones_like(given), clusters=groups, level=level, method="t"
            )
        low, high = share_interval(given, groups, level=level)
        return 100 * low, 100 * high

    def chance(self, metric: str | None = None) -> float:
        """Score of a random guesser in %."""
        return self.guess.get(metric or self.metrics[0], 0.0)

    def where(self, **facts: Any) -> Scores:
        """The scores of those examples whose columns have the given values (``holders=2``).

        Raises:
            InputError: If there is no such column or no such example.
        """
        keep = np.ones(len(self.rows), dtype=bool)
        for name, value in facts.items():
            if name not in self.rows.columns:
                raise InputError(
                    f"scores of {self.task} have no column {name!r}; they have "
                    f"{', '.join(self.rows.columns)}."
                )
            keep &= (self.rows[name] == value).to_numpy()
        if not keep.any():
            raise InputError(f"no example of {self.task} has {facts}: choose other facts.")
        return Scores(self.task, self.lang, self.metrics, self.rows[keep], self.details, self.guess)

    def paired(
        self, other: Scores, metric: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.generic]]:
        """Values of a metric of the same examples in both results, and their groups.

        Examples without a gold answer in either are left out.

        Returns:
            Two float64 arrays (n,) with values 0 to 1, and the groups (n,).

        Raises:
            InputError: If the two do not hold the same examples, or share no scored one.
        """
        if self.task != other.task:
            raise InputError(f"cannot compare {self.task} with {other.task}: take one task.")
        index, against = pd.Index(self.rows["id"]), pd.Index(other.rows["id"])
        if len(index) != len(against) or not index.isin(against).all():
            shared = int(index.isin(against).sum())
            raise InputError(
                f"the two results hold different examples ({len(index)} and {len(against)}, "
                f"{shared} shared): evaluate both with the same split, limit and seed."
            )
        first = self._values(metric)
        second = other._values(metric)[against.get_indexer(index)]
        known = np.isfinite(first) & np.isfinite(second)
        if not known.any():
            raise InputError(
                f"no example of {self.task} has a known gold answer: choose a split that has some."
            )
        return first[known], second[known], self.rows["group"].to_numpy()[known]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write rows and all else as one Parquet file."""
        table = self.rows.reset_index(drop=True)
        table.attrs = {
            "langneurons.scores": 1,
            "task": self.task,
            "lang": self.lang,
            "metrics": list(self.metrics),
            "details": self.details,
            "guess": self.guess,
        }
        write_table(path, table)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scores:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: If there is no such file.
            ArtifactError: If it is damaged or holds something else.
        """
        table = read_table(path)
        head = table.attrs
        if head.get("langneurons.scores") != 1:
            raise ArtifactError(f"{str(path)!r} holds no scores: evaluate again.")
        table.attrs = {}
        metrics, details, guess = tuple(head["metrics"]), head["details"], head["guess"]
        return cls(head["task"], head["lang"], metrics, table, details, guess)

    def __str__(self) -> str:
        parts = []
        for metric in self.metrics:
            low, high = self.interval(metric)
            parts.append(f"{metric} {self.value(metric):.1f} % [{low:.1f}, {high:.1f}]")
        return f"{self.task} {self.lang}: {', '.join(parts)} (n = {self.n})"
