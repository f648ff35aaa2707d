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

from langneurons.config.schema import StudyConfig, parse
from langneurons.errors import InputError
from langneurons.interface.workshop import Texts, Workshop
from langneurons.stages import cluster, runner
from langneurons.stages.runner import Outcome
from langneurons.stages.stage import Plan
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
                name: pinned(spec.source or name, place.commits, **spec.options())
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
    ray, mine = cluster.connect(config.ray)
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
        known = kinds.kinds()
        schedule = cluster.Schedule(
            ray, config.ray, Worker, place, laid,
            lambda stage: known[stage.kind].model, reasons, report,
        )  # fmt: skip
        return schedule.run()
    finally:
        if mine:
            ray.shutdown()
