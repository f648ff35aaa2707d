"""What does a study's stages in a process of its own, here or on another machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from langneurons.config.schema import parse
from langneurons.errors import InputError
from langneurons.interface.workshop import Texts, Workshop
from langneurons.stages import runner
from langneurons.stages.runner import Outcome
from langneurons.stages.schedule import Job
from langneurons.stages.stage import Plan
from langneurons.study import kinds


@dataclass(frozen=True)
class Place:
    """What a process needs to know of a study, as plain values.

    Attributes:
        config: The study, as JSON.
        out: Run directory.
        folder: Folder that relative paths are relative to.
        threads: CPU threads of the process.
        workers: Processes that share this machine, as far as that is known.
        texts: Documents of every language.
        trusted: Whether code from the model's repository may run.
        plan: What to do.
        revision: Commit of the model, where it is known.
        commits: Commits of data sets on the Hub.
    """

    config: str
    out: str
    folder: str
    threads: int
    workers: int
    texts: Mapping[str, Texts]
    trusted: bool
    plan: Plan
    revision: str | None
    commits: Mapping[str, str]


class Worker:
    """A process that does jobs, one after another; the model is loaded with the first.

    Args:
        place: What it needs to know.

    Raises:
        InputError: If the machine does not see the study's folder.
    """

    def __init__(self, place: Place) -> None:
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
        self._out, self._plan, self._beside = Path(place.out), place.plan, place.workers
        config = parse(json.loads(place.config))
        self._workshop = Workshop(
            config,
            self._out,
            place.texts,
            place.trusted,
            place.plan,
            place.revision,
            {
                name: pinned(spec.source or name, place.commits, **spec.options())
                for name, spec in config.tasks.items()
            },
        )

    def run(self, job: Job) -> list[Outcome]:
        """Do one job; returns an outcome for each of its stages."""
        stages = [self._plan[name] for name in job.names]
        found: dict[str, Outcome] = {}
        if len(stages) > 1:
            found = runner.several(
                self._out,
                self._plan,
                stages,
                lambda some: kinds.run_several(self._workshop, some),
                job.reasons,
                self._beside,
            )
        return [found.get(stage.name) or self._one(job, stage.name) for stage in stages]

    def _one(self, job: Job, name: str) -> Outcome:
        return runner.one(
            self._out,
            self._plan,
            self._plan[name],
            lambda stage: kinds.run(self._workshop, stage),
            job.reasons[name],
            job.without,
            self._beside,
        )

    def process(self) -> int:
        """Number of the process on its machine."""
        return os.getpid()
