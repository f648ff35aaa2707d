"""Run a plan in this process: what stands is kept, what fails does not stop the rest."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from langneurons.artifacts import write_text
from langneurons.errors import InputError, LangNeuronsError
from langneurons.progress import track
from langneurons.provenance.environment import public
from langneurons.stages import records
from langneurons.stages.stage import Plan, Stage


@dataclass(frozen=True)
class Outcome:
    """How one stage ended.

    Attributes:
        name: The stage.
        status: ``kept`` (stood already), ``done``, ``failed`` or ``skipped`` (a parent failed).
        seconds: Time it took; 0 unless done.
        reason: Why it ran, failed or was skipped.
        trace: Of a failed one, the traceback; it also lies in the run directory's log.
    """

    name: str
    status: str
    seconds: float
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Together:
    """How stages may share their work.

    Attributes:
        alike: What stages must have in common to be done at once; None for one that is done alone.
        run: Does several stages; must write exactly the outputs of each; returns what they were
            made with.
    """

    alike: Callable[[Stage], Hashable]
    run: Callable[[Sequence[Stage]], Mapping[str, str] | None]


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
    run: Callable[[Stage], Mapping[str, str] | None],
    report: Callable[[Outcome], None] = lambda outcome: None,
    reasons: Mapping[str, str | None] | None = None,
    together: Together | None = None,
) -> list[Outcome]:
    """Run every stage whose result does not stand yet.

    Args:
        out: Run directory.
        plan: What to do.
        run: Does one stage; must write exactly ``stage.outputs``.
        report: Told of every outcome as it comes.
        reasons: Why each stage has to run; None asks the records.
        together: Does stages at once whose turn has come, and later ones without a parent still to
            come; where that fails, each is done alone.

    Returns:
        Outcomes in the plan's order, see :func:`settled`.
    """
    outcomes: list[Outcome] = []
    early: dict[str, Outcome] = {}
    apart: set[str] = set()
    lost: set[str] = set()
    if reasons is None:
        reasons = {stage.name: records.why(out, plan, stage) for stage in plan.stages}
    waiting = sum(stage.cost for stage in plan.stages if reasons[stage.name])
    with track("study", total=waiting or None, unit="k tokens") as bar:
        for place, stage in enumerate(plan.stages):
            reason = reasons[stage.name]
            missing = [parent for parent in stage.parents if parent in lost]
            outcome = early.get(stage.name) or settled(stage, reason, missing)
            if outcome is None and together and not missing and stage.name not in apart:
                with_it = mates(plan.stages[place:], reasons, together.alike, {*early, *apart})
                if len(with_it) > 1:
                    bar.note(", ".join(mate.name for mate in with_it))
                    early |= several(out, plan, with_it, together.run, reasons)
                    outcome = early.get(stage.name)
                    # What failed together is not tried together again, whichever of them it was.
                    apart |= {mate.name for mate in with_it} - {*early}
            if outcome is None:
                bar.note(stage.name)
                outcome = one(out, plan, stage, run, reason or f"{missing[0]} failed", missing)
            if outcome.status in ("failed", "skipped"):
                lost.add(stage.name)
            if reason:
                bar.advance(stage.cost)
            outcomes.append(outcome)
            report(outcome)
    return outcomes


def mates(
    stages: Sequence[Stage],
    reasons: Mapping[str, str | None],
    alike: Callable[[Stage], Hashable],
    done: Container[str],
) -> list[Stage]:
    """The first stage, and later ones that can be done with it now.

    Args:
        stages: Stages in the plan's order; the first one's turn has come.
        reasons: Why each has to run; None where its result stands.
        alike: See :class:`Together`.
        done: Names of those that have been done already.
    """
    common = alike(stages[0])
    if common is None:
        return [stages[0]]
    waiting = {stage.name for stage in stages if reasons[stage.name] and stage.name not in done}
    return [
        stage
        for stage in stages
        if stage.name in waiting
        and alike(stage) == common
        and (stage is stages[0] or not stage.parents)
    ]


def several(
    out: Path,
    plan: Plan,
    stages: Sequence[Stage],
    run: Callable[[Sequence[Stage]], Mapping[str, str] | None],
    reasons: Mapping[str, str | None],
    beside: int = 1,
) -> dict[str, Outcome]:
    """Do stages at once and record each with its share of the time; nothing where that failed.

    Args:
        out: Run directory.
        plan: Holds the keys of the stages.
        stages: What to do.
        run: See :class:`Together`.
        reasons: Why each runs.
        beside: See :func:`langneurons.stages.records.save`.
    """
    start = time.perf_counter()
    try:
        for stage in stages:
            records.begin(out, plan, stage)
        made = run(stages)
    except Exception:
        # One site that the model lacks must not cost the others: each says alone what is wrong.
        return {}
    seconds = (time.perf_counter() - start) / len(stages)
    found = {}
    for stage in stages:
        records.save(out, plan, stage, seconds, (), made, beside)
        found[stage.name] = Outcome(stage.name, "done", seconds, reasons[stage.name] or "")
    return found


def settled(stage: Stage, reason: str | None, lost: Sequence[str]) -> Outcome | None:
    """How a stage ends without running, or None where it has to run.

    A stage whose parent failed is skipped; one that sums up runs over what there is, so that one
    bad cell does not cost the report.

    Args:
        stage: The stage; its parents have ended.
        reason: Why its result does not stand; None where it does.
        lost: Parents that failed or were skipped.
    """
    if lost and not stage.summary:
        return Outcome(stage.name, "skipped", 0.0, f"needs {lost[0]}")
    return None if lost or reason is not None else Outcome(stage.name, "kept", 0.0, "")


def one(
    out: Path,
    plan: Plan,
    stage: Stage,
    run: Callable[[Stage], Mapping[str, str] | None],
    reason: str,
    without: Sequence[str] = (),
    beside: int = 1,
) -> Outcome:
    """Do one stage and record it.

    Args:
        out: Run directory.
        plan: Holds the keys of the stage and of its parents.
        stage: What to do.
        run: Does it; must write exactly ``stage.outputs``; returns what it was made with.
        reason: Why it runs.
        without: Parents that failed.
        beside: See :func:`langneurons.stages.records.save`.

    Returns:
        ``done``, or ``failed`` with the error's first line; the traceback goes to the log.
    """
    start = time.perf_counter()
    try:
        records.begin(out, plan, stage)
        made = run(stage)
    except Exception as error:
        # One cell's fault must not cost the others, whatever library it comes from: safetensors'
        # own error, say, is none of Python's.
        ours = isinstance(error, LangNeuronsError)
        words = str(error) if ours else f"{type(error).__name__}: {error}".splitlines()[0]
        trace = public(traceback.format_exc())
        with contextlib.suppress(LangNeuronsError):  # the disk may be what failed
            write_text(records.log_path(out, stage), trace)
        return Outcome(stage.name, "failed", time.perf_counter() - start, words, trace)
    seconds = time.perf_counter() - start
    records.save(out, plan, stage, seconds, without, made, beside)
    return Outcome(stage.name, "done", seconds, reason)
