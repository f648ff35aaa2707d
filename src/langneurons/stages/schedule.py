"""Run a plan with several workers at once, by the rules of the local runner."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from langneurons.progress import Bar, track
from langneurons.stages import runner
from langneurons.stages.runner import Outcome
from langneurons.stages.stage import Plan, Stage

PATIENCE = 1.0
"""Seconds between two looks at what the workers say of themselves."""


class WorkerLostError(Exception):
    """A worker ended before its job did: killed, out of memory, or it could not begin."""


@dataclass(frozen=True)
class Job:
    """What a worker does in one go.

    Attributes:
        names: Stages; several are done together.
        reasons: Why each of them runs.
        without: Parents that failed.
    """

    names: tuple[str, ...]
    reasons: dict[str, str]
    without: tuple[str, ...] = ()


class Worker(Protocol):
    """A process that does jobs, one after another; made with one plain value."""

    def __init__(self, place: Any) -> None: ...

    def run(self, job: Job) -> list[Outcome]:
        """Do one job; returns an outcome for each of its stages."""


class Crew(Protocol):
    """Workers, wherever they are."""

    size: int

    def start(self, job: Job, *, apart: bool) -> Any:
        """Begin a job and return its ticket.

        Args:
            job: What to do.
            apart: Whether it needs none of the workers that stay.
        """

    def wait(self, tickets: Collection[Any], seconds: float) -> Any | None:
        """One of the jobs that has ended; None if none did in the time given."""

    def outcomes(self, ticket: Any) -> list[Outcome]:
        """What came of a job that has ended.

        Raises:
            WorkerLostError: If its worker did not finish it.
        """

    def words(self) -> str:
        """What the workers are doing, for whoever waits; may be empty."""


def nothing_alike(stage: Stage) -> Hashable:
    """No two stages are done together."""
    return None


def nothing_apart(stage: Stage) -> bool:
    """Every stage takes a worker."""
    return False


class Schedule:
    """The state of one run: which stages wait, which run where, how the others ended.

    Args:
        crew: Does the work.
        laid: What to do.
        reasons: Why each stage has to run; None where its result stands.
        report: Told of every outcome as it comes.
        alike: What stages have in common that are done together; see
            :class:`~langneurons.stages.runner.Together`.
        apart: Whether a stage needs none of the workers that stay.
        retries: Times a job is tried again after its worker died.
    """

    def __init__(
        self,
        crew: Crew,
        laid: Plan,
        reasons: Mapping[str, str | None],
        report: Callable[[Outcome], None],
        *,
        alike: Callable[[Stage], Hashable] = nothing_alike,
        apart: Callable[[Stage], bool] = nothing_apart,
        retries: int = 0,
    ) -> None:
        self._crew, self._laid, self._reasons, self._report = crew, laid, reasons, report
        self._alike, self._apart, self._retries = alike, apart, retries
        self._free = crew.size
        self._waiting = {stage.name: stage for stage in laid.stages}
        self._running: dict[Any, tuple[Job, bool]] = {}
        self._tries: dict[str, int] = {}
        self._outcomes: dict[str, Outcome] = {}

    def run(self) -> list[Outcome]:
        """Run every stage whose result does not stand yet.

        Returns:
            Outcomes in the plan's order, as :func:`langneurons.stages.runner.execute` gives them.
        """
        work = sum(stage.cost for stage in self._laid.stages if self._reasons[stage.name])
        with track("study", total=work or None, unit="k tokens") as bar:
            while self._waiting or self._running:
                self._start(bar)
                if not self._running:
                    continue
                ended = self._crew.wait(self._running, PATIENCE)
                if ended is not None:
                    self._end(ended, bar)
                else:
                    bar.note(self._crew.words() or self._doing())
        return [self._outcomes[stage.name] for stage in self._laid.stages]

    def _doing(self) -> str:
        return ", ".join(name for job, _ in self._running.values() for name in job.names)

    def _start(self, bar: Bar) -> None:
        """Settle what needs no work, and give work to idle workers."""
        for stage in list(self._waiting.values()):
            # One that is done together with an earlier one waits no more.
            if stage.name not in self._waiting or any(
                parent not in self._outcomes for parent in stage.parents
            ):
                continue
            reason = self._reasons[stage.name]
            lost = [p for p in stage.parents if self._outcomes[p].status in ("failed", "skipped")]
            outcome = runner.settled(stage, reason, lost)
            if outcome is not None:
                self._settle(stage, outcome, bar)
            elif (apart := self._apart(stage)) or self._free:
                self._submit(stage, lost, apart)
                bar.note(self._doing())

    def _submit(self, stage: Stage, lost: list[str], apart: bool) -> None:
        stages = [stage]
        if not (lost or apart or self._tries.get(stage.name)):  # after a death each goes alone
            waiting = list(self._waiting.values())
            waiting = waiting[waiting.index(stage) :]
            stages = runner.mates(waiting, self._reasons, self._alike, self._tries)
        why = {item.name: self._reasons[item.name] or f"{lost[0]} failed" for item in stages}
        job = Job(tuple(why), why, tuple(lost))
        for name in job.names:
            del self._waiting[name]
        self._free -= not apart
        self._running[self._crew.start(job, apart=apart)] = (job, apart)

    def _end(self, ticket: Any, bar: Bar) -> None:
        job, apart = self._running.pop(ticket)
        self._free += not apart
        stages = [self._laid[name] for name in job.names]
        try:
            outcomes = self._crew.outcomes(ticket)
        except WorkerLostError as error:
            for stage in stages:
                self._died(stage, error, bar)
            return
        for stage, outcome in zip(stages, outcomes, strict=True):
            self._settle(stage, outcome, bar)

    def _died(self, stage: Stage, error: WorkerLostError, bar: Bar) -> None:
        tries = self._tries[stage.name] = self._tries.get(stage.name, 0) + 1
        if tries <= self._retries:
            self._waiting[stage.name] = stage
            return
        words = f"its worker died {tries} times, last: {error}"
        self._settle(stage, Outcome(stage.name, "failed", 0.0, words), bar)

    def _settle(self, stage: Stage, outcome: Outcome, bar: Bar) -> None:
        self._waiting.pop(stage.name, None)
        self._outcomes[stage.name] = outcome
        if self._reasons[stage.name]:
            bar.advance(stage.cost)
        self._report(outcome)
