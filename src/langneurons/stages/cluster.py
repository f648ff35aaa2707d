"""Run a plan on a Ray cluster, by the rules of the local runner.

Stages that need what a worker holds (a model) go to actors, one stage after another; the others are
tasks. A worker that dies is replaced and its stage tried again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from langneurons.errors import InputError
from langneurons.progress import Bar, track
from langneurons.stages import runner
from langneurons.stages.runner import Outcome
from langneurons.stages.stage import Plan, Stage


class Wanted(Protocol):
    """Which cluster, and how much of it; see :class:`langneurons.config.schema.RaySpec`."""

    @property
    def address(self) -> str | None:
        """``auto`` or HOST:PORT."""

    @property
    def workers(self) -> int | None:
        """Workers; None for as many as there is room."""

    @property
    def cpus(self) -> float:
        """CPU cores of a worker."""

    @property
    def gpus(self) -> float | None:
        """GPUs of a worker."""

    @property
    def retries(self) -> int:
        """Times a stage is tried again after its worker died."""


class Worker(Protocol):
    """A process that does stages, one after another; made with one plain value."""

    def __init__(self, place: Any) -> None: ...

    def run(self, name: str, reason: str, without: list[str]) -> dict[str, Any]:
        """Do one stage; returns its outcome as plain values."""


def _alone(worker: type[Worker]) -> Callable[..., dict[str, Any]]:
    """One stage in a process of its own."""

    def alone(place: object, name: str, reason: str, without: list[str]) -> dict[str, Any]:
        return worker(place).run(name, reason, without)

    return alone


def connect(spec: Wanted) -> tuple[Any, bool]:
    """Ray, connected, and whether the connection is ours to close.

    Raises:
        InputError: If Ray is not installed or the cluster cannot be reached.
    """
    # No report of use leaves the machine unless somebody asked for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "executor ray needs the package ray: install langneurons with the extra [ray] "
            "(pip install 'langneurons[ray]')."
        ) from error
    if ray.is_initialized():
        return ray, False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = spec.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(
            f"cannot reach the Ray cluster {address or 'here'!r} ({line}): check the address, or "
            "leave it out for a cluster of its own."
        ) from error
    return ray, True


def capacity(spec: Wanted, resources: Mapping[str, float]) -> tuple[int, float]:
    """How many workers a cluster takes, and the GPUs of each.

    Raises:
        InputError: If it does not hold the workers asked for.
    """
    there = resources.get("GPU", 0)
    gpus = spec.gpus if spec.gpus is not None else float(there > 0)
    room = int(resources.get("CPU", 0) // spec.cpus)
    if gpus:
        room = min(room, int(there // gpus))
    if room < (spec.workers or 1):
        raise InputError(
            f"the cluster has {resources.get('CPU', 0):g} CPU cores and {there:g} GPUs, room for "
            f"{room} workers of {spec.cpus:g} cores and {gpus:g} GPUs: {spec.workers or 1} wanted; "
            "lower ray.workers, ray.cpus or ray.gpus."
        )
    return spec.workers or room, gpus


class Schedule:
    """The state of one run: which stages wait, which run where, how the others ended.

    Args:
        ray: What :func:`connect` returns.
        spec: How much of the cluster is taken.
        worker: Does stages.
        place: What it is made with.
        laid: What to do.
        reads_model: Whether a stage goes to a worker that stays.
        reasons: Why each stage has to run; None where its result stands.
        report: Told of every outcome as it comes.

    Raises:
        InputError: If the cluster is too small.
    """

    def __init__(
        self,
        ray: Any,
        spec: Wanted,
        worker: type[Worker],
        place: object,
        laid: Plan,
        reads_model: Callable[[Stage], bool],
        reasons: Mapping[str, str | None],
        report: Callable[[Outcome], None],
    ) -> None:
        self._ray, self._spec, self._laid, self._report = ray, spec, laid, report
        self._place = ray.put(place)
        count, gpus = capacity(spec, ray.cluster_resources())
        self._actor = ray.remote(num_cpus=spec.cpus, num_gpus=gpus, max_restarts=0)(worker)
        # Workers hold all cores that were asked for; a stage without a model takes little.
        self._task = ray.remote(num_cpus=0, max_retries=0)(_alone(worker))
        self._idle: list[Any] = [None] * count
        self._reasons = reasons
        self._reads_model = reads_model
        self._waiting = {stage.name: stage for stage in laid.stages}
        self._running: dict[Any, tuple[Stage, Any]] = {}
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
                done, _ = self._ray.wait(list(self._running), num_returns=1)
                self._end(done[0], bar)
        return [self._outcomes[stage.name] for stage in self._laid.stages]

    def _start(self, bar: Bar) -> None:
        """Settle what needs no work, and give work to idle workers."""
        for stage in list(self._waiting.values()):
            if any(parent not in self._outcomes for parent in stage.parents):
                continue
            reason = self._reasons[stage.name]
            lost = [p for p in stage.parents if self._outcomes[p].status in ("failed", "skipped")]
            outcome = runner.settled(stage, reason, lost)
            if outcome is not None:
                self._settle(stage, outcome, bar)
            elif not self._reads_model(stage):
                self._submit(stage, None, reason or f"{lost[0]} failed", lost, bar)
            elif self._idle:
                worker = self._idle.pop() or self._actor.remote(self._place)
                self._submit(stage, worker, reason or "", lost, bar)

    def _submit(self, stage: Stage, worker: Any, reason: str, lost: list[str], bar: Bar) -> None:
        bar.note(stage.name)
        if worker is None:
            reference = self._task.remote(self._place, stage.name, reason, lost)
        else:
            reference = worker.run.remote(stage.name, reason, lost)
        del self._waiting[stage.name]
        self._running[reference] = (stage, worker)

    def _end(self, reference: Any, bar: Bar) -> None:
        stage, worker = self._running.pop(reference)
        try:
            outcome = Outcome(**self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            # The process died (killed, out of memory, machine gone) or could not begin.
            self._tries[stage.name] = self._tries.get(stage.name, 0) + 1
            if worker is not None:
                self._idle.append(None)
            if self._tries[stage.name] <= self._spec.retries:
                self._waiting[stage.name] = stage
                return
            words = f"its worker died {self._tries[stage.name]} times, last: {_line(error)}"
            self._settle(stage, Outcome(stage.name, "failed", 0.0, words), bar)
            return
        if worker is not None:
            self._idle.append(worker)
        self._settle(stage, outcome, bar)

    def _settle(self, stage: Stage, outcome: Outcome, bar: Bar | None = None) -> None:
        self._waiting.pop(stage.name, None)
        self._outcomes[stage.name] = outcome
        if bar is not None and self._reasons[stage.name]:
            bar.advance(stage.cost)
        self._report(outcome)


def _line(error: BaseException) -> str:
    """The last line of an error that came from another process, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
