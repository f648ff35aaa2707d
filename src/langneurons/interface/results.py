"""What stands of a plan in a run directory: only what it names, whatever else lies there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from langneurons.artifacts import read_table
from langneurons.interface.context import Context
from langneurons.stages import records
from langneurons.stages.stage import Plan

if TYPE_CHECKING:
    import pandas as pd


class TableMaker(Protocol):
    """What of a :class:`langneurons.interface.part.Part` makes tables."""

    @property
    def word(self) -> str:
        """Its key in a study file."""

    @property
    def names(self) -> Mapping[str, int]:
        """Columns that hold the names of its many, and their rank."""

    @property
    def columns(self) -> Mapping[str, object]:
        """Its tables by name."""

    @property
    def tables(self) -> Callable[[Results], Mapping[str, pd.DataFrame]] | None:
        """Makes them."""


class Results:
    """The results of a plan that stand, and the tables that parts make of them.

    Args:
        out: Run directory.
        plan: What is to be there.
        context: The study.
        parts: All parts, in their order.
    """

    def __init__(
        self, out: Path, plan: Plan, context: Context, parts: Sequence[TableMaker]
    ) -> None:
        self.out, self.context, self._plan, self._parts = out, context, plan, parts
        self._tables: dict[str, Mapping[str, pd.DataFrame]] = {}

    @cached_property
    def _standing(self) -> frozenset[str]:
        stages = self._plan.stages
        return frozenset(s.name for s in stages if records.stands(self.out, self._plan, s))

    def stands(self, stage: str) -> bool:
        """Whether the result of a stage stands."""
        return stage in self._standing

    def paths(self, kind: str) -> dict[Path, Mapping[str, Any]]:
        """Output and arguments of each stage of a kind that stands, sorted by output."""
        found = {
            self.out / stage.output: stage.arguments
            for stage in self._plan.stages
            if stage.kind == kind and stage.name in self._standing
        }
        return dict(sorted(found.items()))

    def rows(self, kind: str, file: str = "") -> pd.DataFrame:
        """Rows of all tables of a kind, one under the other; empty where there is none.

        Args:
            kind: Kind of stage.
            file: Name of the table, where the stages write folders.
        """
        import pandas as pd

        paths = (path / file if file else path for path in self.paths(kind))
        found = [read_table(path) for path in paths if path.is_file()]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    def table(self, name: str) -> pd.DataFrame:
        """A table by name, of whichever part; empty where there is none."""
        import pandas as pd

        owners = (part for part in self._parts if name in part.columns)
        owner = next(owners, None)
        return pd.DataFrame() if owner is None else self.tables_of(owner).get(name, pd.DataFrame())

    def tables_of(self, part: TableMaker) -> Mapping[str, pd.DataFrame]:
        """The tables of a part, made once, their rows in the study's own order."""
        if part.word not in self._tables:
            made = part.tables(self) if part.tables is not None else {}
            self._tables[part.word] = {name: self._in_order(table) for name, table in made.items()}
        return self._tables[part.word]

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows in the study's own order of tasks, sets and languages rather than the alphabet's.

        Rows of what the study does not name are dropped.
        """
        orders = self._orders
        present = [name for name in orders if name in table.columns]
        if not present:
            return table
        places = table[present].apply(
            lambda column: column.map({item: n for n, item in enumerate(orders[str(column.name)])})
        )
        order = places.dropna().sort_values(present, kind="stable").index
        return table.loc[order].reset_index(drop=True)

    @cached_property
    def _orders(self) -> dict[str, list[str]]:
        """Column to its values in order; rows are sorted by the first of these columns first."""
        ranked = sorted(
            (rank, column, part.word) for part in self._parts for column, rank in part.names.items()
        )
        orders = {column: ["-", *(self.context.spec_of(word) or {})] for _, column, word in ranked}
        return orders | dict.fromkeys(("row", "language", "column"), self.context.languages)
