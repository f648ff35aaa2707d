"""Run a plan on a Ray cluster: the same stages, the same results, on as many machines as wanted.

Each worker is an actor that loads the model once and does one stage after another; stages that read
no model are tasks. All of them work in the one run directory, so it must lie on a file system that
every machine sees at the same path. A worker that dies is replaced and its stage tried again; what
the dead one left there (checkpoints of statistics and trainings) is used.

Between the processes of a cluster Ray itself moves Python objects by pickle. Only plain values are
sent (JSON text, numbers, documents), and nothing that comes from a file; who can reach the ports of
the cluster can run code on it, so keep them inside a trusted network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from langneurons.config.schema import RaySpec, StudyConfig, parse
from langneurons.errors import InputError
from langneurons.interface.workshop import Texts, Workshop
from langneurons.progress import Bar, track
from langneurons.stages import runner
from langneurons.stages.runner import Outcome
from langneurons.stages.stage import Plan, Stage
from langneurons.study import kinds


class _Shared(Mapping[str, Texts]):
    """Documents by language, fetched from the cluster's object store when first asked for."""

    def __init__(self, references: Mapping[str, Any]) -> None:
        self._references, self._found = references, dict[str, Texts]()

    def __getitem__(self, language: str) -> Texts:
        if language not in self._found:
            import ray

            kept, held = ray.get(self._references[language])
            self._found[language] = Texts(kept, held)
        return self._found[language]

    def __iter__(self) -> Iterator[str]:
        return iter(self._references)

    def __len__(self) -> int:
        return len(self._references)


@dataclass(frozen=True)
class _Place:
    """What a process of the cluster needs to know of a study, as plain values."""

    config: str
    out: str
    folder: str
    threads: int
    texts: Mapping[str, Any]
    trusted: bool
    plan: Plan
    revision: str | None
    commits: dict[str, str]


class Worker:
    """A process that does stages, one after another; the model is loaded with the first."""

    def __init__(self, place: _Place) -> None:
        import json

        import torch

        from langneurons.config.inputs import pinned

        try:
            os.chdir(place.folder)
        except OSError as error:
            raise InputError(
                f"a machine of the cluster does not see {place.folder!r}: give an "
                "output folder that all machines share."
            ) from error
        torch.set_num_threads(place.threads)
        self._out = Path(place.out)
        config = parse(json.loads(place.config))
        self._workshop = Workshop(
            config,
            self._out,
            _Shared(place.texts),
            place.trusted,
            place.plan,
            place.revision,
            {
                name: pinned(spec.source or name, place.commits)
                for name, spec in config.tasks.items()
            },
        )
        self._plan = place.plan

    def run(self, name: str, reason: str, without: list[str]) -> dict[str, Any]:
        """Do one stage; returns its outcome as plain values."""
        outcome = runner.one(
            self._out,
            self._plan,
            self._plan[name],
            lambda stage: kinds.run(self._workshop, stage),
            reason,
            without,
        )
        return asdict(outcome)

    def process(self) -> int:
        """Number of the process on its machine."""
        return os.getpid()


def _alone(place: _Place, name: str, reason: str, without: list[str]) -> dict[str, Any]:
    """One stage in a process of its own, without a model."""
    return Worker(place).run(name, reason, without)


def execute(
    config: StudyConfig,
    out: Path,
    laid: Plan,
    texts: Mapping[str, Texts],
    reasons: Mapping[str, str | None],
    report: Callable[[Outcome], None] = lambda outcome: None,
    trusted: bool = False,
    revision: str | None = None,
    commits: Mapping[str, str] = MappingProxyType({}),
) -> list[Outcome]:
    """Run every stage whose result does not stand yet, on a Ray cluster.

    Args:
        config: The study; ``config.ray`` says where and with what.
        out: Run directory, seen by every machine at this path.
        laid: What to do.
        texts: Documents of every language.
        reasons: Why each stage has to run; None where its result stands.
        report: Told of every outcome as it comes.
        trusted: Whether code from the model's repository may run.
        revision: Commit of the model, where it is known.
        commits: Commits of data sets on the Hub.

    Returns:
        Outcomes in the plan's order, as :func:`langneurons.stages.runner.execute` gives them.

    Raises:
        InputError: If Ray is not installed, the cluster cannot be reached, or it is too small.
    """
    ray, mine = _connect(config.ray)
    try:
        place = _Place(
            config=config.model_dump_json(),
            out=str(out.resolve()),
            folder=str(Path.cwd()),
            threads=config.threads or max(1, int(config.ray.cpus)),
            trusted=trusted,
            plan=laid,
            revision=revision,
            commits=dict(commits),
            texts={lang: ray.put((item.statistics, item.held_out)) for lang, item in texts.items()},
        )
        return _Cluster(ray, config.ray, place, laid, reasons, report).run()
    finally:
        if mine:
            ray.shutdown()


def _connect(spec: RaySpec) -> tuple[Any, bool]:
    """Ray, connected, and whether the connection is ours to close."""
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


def capacity(spec: RaySpec, resources: Mapping[str, float]) -> tuple[int, float]:
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


class _Cluster:
    """The state of one run: which stages wait, which run where, how the others ended."""

    def __init__(
        self,
        ray: Any,
        spec: RaySpec,
        place: _Place,
        laid: Plan,
        reasons: Mapping[str, str | None],
        report: Callable[[Outcome], None],
    ) -> None:
        self._ray, self._spec, self._laid, self._report = ray, spec, laid, report
        self._place = ray.put(place)
        count, gpus = capacity(spec, ray.cluster_resources())
        self._actor = ray.remote(num_cpus=spec.cpus, num_gpus=gpus, max_restarts=0)(Worker)
        # Workers hold all cores that were asked for; a stage without a model takes little.
        self._task = ray.remote(num_cpus=0, max_retries=0)(_alone)
        self._idle: list[Any] = [None] * count
        self._reasons = reasons
        self._kinds = kinds.kinds()
        self._waiting = {stage.name: stage for stage in laid.stages}
        self._running: dict[Any, tuple[Stage, Any]] = {}
        self._tries: dict[str, int] = {}
        self._outcomes: dict[str, Outcome] = {}

    def run(self) -> list[Outcome]:
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
            elif not self._kinds[stage.kind].model:
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
