"""What a table is: numbers in full, and how each column is written."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from langneurons.reporting.numbers import MISSING, number, p_value, with_interval

Kind = Literal["text", "short", "count", "number", "p", "flag"]


@dataclass(frozen=True)
class Column:
    """One shown column.

    Attributes:
        key: Column of the data.
        label: Heading, with the unit where there is one.
        kind: How its values are written; "short" is text that is never broken.
        digits: Digits after the point of a "number".
        interval: Columns with the lower and upper end, written behind the number.
        signed: Write a plus sign.
        mark: Boolean column: an asterisk behind the number where it holds.
    """

    key: str
    label: str
    kind: Kind = "text"
    digits: int = 1
    interval: tuple[str, str] | None = None
    signed: bool = False
    mark: str | None = None

    def show(self, row: Mapping[Hashable, Any]) -> str:
        """The cell of this column in a row of the data."""
        value = row[self.key]
        if self.kind == "flag":
            return MISSING if pd.isna(value) else ("yes" if value else "no")
        if self.kind in ("text", "short"):
            return MISSING if value is None or pd.isna(value) else str(value)
        if pd.isna(value):
            return MISSING
        if self.kind == "count":
            return number(float(value), 0)
        if self.kind == "p":
            return p_value(float(value))
        if self.interval is None:
            shown = number(float(value), self.digits, signed=self.signed)
        else:
            low, high = (row[name] for name in self.interval)
            shown = with_interval(
                float(value), _float(low), _float(high), self.digits, signed=self.signed
            )
        return shown + "*" if self.mark is not None and bool(row[self.mark]) else shown

    def sort_value(self, row: Mapping[Hashable, Any]) -> str:
        """What the column is sorted by: the number itself, or the text."""
        value = row[self.key]
        if self.kind in ("text", "short", "flag"):
            return self.show(row)
        return "" if pd.isna(value) else repr(float(value))


def _float(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Table:
    """One table of the report.

    Attributes:
        name: File name without suffix; letters, digits, ``-`` and ``_``.
        title: A few words.
        caption: What a reader of a paper needs to know: what is shown, units, n, intervals, tests.
        data: Every number in full, for the CSV file.
        columns: What is shown, in order.
    """

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    columns: Sequence[Column]

    @cached_property
    def rows(self) -> list[list[tuple[str, str]]]:
        """Per row and shown column: the text, and what it is sorted by."""
        return [
            [(column.show(row), column.sort_value(row)) for column in self.columns]
            for row in self.data.to_dict("records")
        ]

    def shown(self) -> pd.DataFrame:
        """The table as written: one text column per heading."""
        return pd.DataFrame(
            [[text for text, _ in row] for row in self.rows],
            columns=[column.label for column in self.columns],
        )
