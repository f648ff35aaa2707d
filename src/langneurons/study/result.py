"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from langneurons.stages.runner import Outcome


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        out: Run directory.
        outcomes: One per stage, in the plan's order.
        report: Path of the report page, or None where it could not be made.
        seconds: Time of the whole run.
    """

    out: Path
    outcomes: tuple[Outcome, ...]
    report: Path | None
    seconds: float

    @property
    def failed(self) -> list[Outcome]:
        """Stages that failed; those skipped because of them are not among these."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]

    def _repr_html_(self) -> str:
        from langneurons.study.notebook import result_html

        return result_html(self.out, self.outcomes, self.report, self.seconds)
