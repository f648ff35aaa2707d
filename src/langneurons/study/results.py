"""What stands of a plan in a run directory: only what it names, whatever else lies there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from langneurons.artifacts import read_table
from langneurons.study import records
from langneurons.study.plan import Plan


class Results:
    """The results of a plan that stand.

    Args:
        out: Run directory.
        plan: What is to be there.
    """

    def __init__(self, out: Path, plan: Plan) -> None:
        self.out, self._plan = out, plan

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
        paths = (path / file if file else path for path in self.paths(kind))
        found = [read_table(path) for path in paths if path.is_file()]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()
