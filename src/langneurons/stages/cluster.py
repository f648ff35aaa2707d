"""Workers on a Ray cluster.

Stages that need what a worker holds (a model) go to actors, one job after another; the others are
tasks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from langneurons.errors import InputError
from langneurons.stages.runner import Outcome
from langneurons.stages.schedule import Job, Worker, WorkerLostError


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


def _alone(worker: type[Worker]) -> Callable[..., list[Outcome]]:
    """One job in a process of its own."""

    def alone(place: object, job: Job) -> list[Outcome]:
        return worker(place).run(job)

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


class RayCrew:
    """Actors that stay, one a place in the cluster, and tasks for what needs none of them.

    Args:
        ray: What :func:`connect` returns.
        spec: How much of the cluster is taken.
        worker: Does jobs.
        place: What it is made with.

    Raises:
        InputError: If the cluster is too small.
    """

    def __init__(self, ray: Any, spec: Wanted, worker: type[Worker], place: object) -> None:
        self._ray, self._place = ray, ray.put(place)
        self.size, gpus = capacity(spec, ray.cluster_resources())
        self._actor = ray.remote(num_cpus=spec.cpus, num_gpus=gpus, max_restarts=0)(worker)
        # Workers hold all cores that were asked for; a stage without a model takes little.
        self._task = ray.remote(num_cpus=0, max_retries=0)(_alone(worker))
        self._idle: list[Any] = []
        self._busy: dict[Any, Any] = {}

    def start(self, job: Job, *, apart: bool) -> Any:
        """Begin a job on an idle actor, or as a task."""
        if apart:
            return self._task.remote(self._place, job)
        actor = self._idle.pop() if self._idle else self._actor.remote(self._place)
        ticket = actor.run.remote(job)
        self._busy[ticket] = actor
        return ticket

    def wait(self, tickets: Collection[Any], seconds: float) -> Any | None:
        """One of the jobs that has ended."""
        done, _ = self._ray.wait(list(tickets), num_returns=1, timeout=seconds)
        return done[0] if done else None

    def outcomes(self, ticket: Any) -> list[Outcome]:
        """What came of a job; an actor that died is replaced by the next one to start."""
        actor = self._busy.pop(ticket, None)
        try:
            found: list[Outcome] = self._ray.get(ticket)
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError(_line(error)) from error
        if actor is not None:
            self._idle.append(actor)
        return found

    def words(self) -> str:
        """Nothing: workers of a cluster say nothing of themselves."""
        return ""


def _line(error: BaseException) -> str:
    """The last line of an error that came from another process, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
