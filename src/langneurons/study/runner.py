"""Run a plan in this process: what stands is kept, what fails does not stop the rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from langneurons.errors import InputError, LangNeuronsError
from langneurons.progress import track
from langneurons.study import records
from langneurons.study.plan import Plan, Stage


@dataclass(frozen=True)
class Outcome:
    """How one stage ended.

    Attributes:
        name: The stage.
        status: ``kept`` (stood already), ``done``, ``failed`` or ``skipped`` (a parent failed).
        seconds: Time it took; 0 unless done.
        reason: Why it ran, failed or was skipped.
    """

    name: str
    status: str
    seconds: float
    reason: str


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run directory for one run at a time.

    Raises:
        InputError: If another run holds it, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(
            f"another run is working in {str(out)!r}: wait for it, or choose another folder "
            "with -o."
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot write to {str(out)!r} ({error.strerror}): choose another folder with -o."
        ) from error
    try:
        yield
    finally:
        lock.release()


def execute(
    out: Path,
    plan: Plan,
    run: Callable[[Stage], None],
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run every stage whose result does not stand yet.

    Args:
        out: Run directory.
        plan: What to do.
        run: Does one stage; must write exactly ``stage.output``.
        report: Told of every outcome as it comes.

    Returns:
        Outcomes in the plan's order. A stage whose parent failed is skipped. ``tables`` runs over
        what there is even if a cell failed, so that one bad cell does not cost the report.
    """
    outcomes: list[Outcome] = []
    lost: set[str] = set()
    reasons = {stage.name: records.why(out, plan, stage) for stage in plan.stages}
    waiting = sum(stage.cost for stage in plan.stages if reasons[stage.name])
    with track("study", total=waiting or None, unit="k tokens") as bar:
        for stage in plan.stages:
            reason = reasons[stage.name]
            missing = [parent for parent in stage.parents if parent in lost]
            if reason is None and not missing:
                outcome = Outcome(stage.name, "kept", 0.0, "")
            elif missing and stage.kind != "tables":
                lost.add(stage.name)
                outcome = Outcome(stage.name, "skipped", 0.0, f"needs {missing[0]}")
            else:
                bar.note(stage.name)
                reason = reason or f"{missing[0]} failed"
                outcome = one(out, plan, stage, run, reason, missing)
                if outcome.status == "failed":
                    lost.add(stage.name)
            if reason:
                bar.advance(stage.cost)
            outcomes.append(outcome)
            report(outcome)
    return outcomes


def one(
    out: Path,
    plan: Plan,
    stage: Stage,
    run: Callable[[Stage], None],
    reason: str,
    without: Sequence[str] = (),
) -> Outcome:
    """Do one stage and record it.

    Args:
        out: Run directory.
        plan: Holds the keys of the stage and of its parents.
        stage: What to do.
        run: Does it; must write exactly ``stage.output``.
        reason: Why it runs.
        without: Parents that failed.

    Returns:
        ``done``, or ``failed`` with the error's first line.
    """
    start = time.perf_counter()
    try:
        records.begin(out, plan, stage)
        run(stage)
    except LangNeuronsError as error:
        return Outcome(stage.name, "failed", time.perf_counter() - start, str(error))
    except Exception as error:
        # One cell's fault must not cost the others, whatever library it comes from: safetensors'
        # own error, say, is none of Python's.
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        return Outcome(stage.name, "failed", time.perf_counter() - start, words)
    seconds = time.perf_counter() - start
    records.save(out, plan, stage, seconds, without)
    return Outcome(stage.name, "done", seconds, reason)
