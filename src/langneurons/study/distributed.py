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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from langneurons.config.schema import StudyConfig
from langneurons.interface.workshop import Texts
from langneurons.stages import cluster
from langneurons.stages.cluster import RayCrew
from langneurons.stages.runner import Outcome
from langneurons.stages.schedule import Schedule
from langneurons.study import kinds
from langneurons.study.worker import Place, Worker


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


def execute(
    config: StudyConfig,
    place: Place,
    reasons: Mapping[str, str | None],
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run every stage whose result does not stand yet, on a Ray cluster.

    Args:
        config: The study; ``config.ray`` says where and with what.
        place: What each process needs to know; every machine sees the run directory at its path.
        reasons: Why each stage has to run; None where its result stands.
        report: Told of every outcome as it comes.

    Returns:
        Outcomes in the plan's order, as :func:`langneurons.stages.runner.execute` gives them.

    Raises:
        InputError: If Ray is not installed, the cluster cannot be reached, or it is too small.
    """
    ray, mine = cluster.connect(config.ray)
    try:
        shared = {
            lang: ray.put((item.statistics, item.held_out)) for lang, item in place.texts.items()
        }
        known = kinds.kinds()
        schedule = Schedule(
            RayCrew(ray, config.ray, Worker, replace(place, texts=_Shared(shared))),
            place.plan,
            reasons,
            report,
            alike=kinds.alike,
            apart=lambda stage: not known[stage.kind].model,
            retries=config.ray.retries,
        )
        return schedule.run()
    finally:
        if mine:
            ray.shutdown()
