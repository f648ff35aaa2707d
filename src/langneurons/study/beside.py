"""Run a plan in several processes of this machine, where that pays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from langneurons.config.schema import StudyConfig
from langneurons.stages.processes import Processes
from langneurons.stages.runner import Outcome
from langneurons.stages.schedule import Schedule
from langneurons.stages.stage import Plan
from langneurons.study import kinds
from langneurons.study.expectation import operations, process_memory
from langneurons.study.worker import Place, Worker

LEAST = 2e12
"""Floating-point operations of a study for which processes are started: about a minute's."""
PROCESS = 0.8e9
"""Bytes of a process beside its model: PyTorch, Transformers and what they need."""
SHARE = 0.6
"""Share of the free memory that all processes together may take."""


def count(config: StudyConfig, laid: Plan, reasons: Mapping[str, str | None]) -> tuple[int, int]:
    """How many processes share the work, and the threads of each; (1, threads) for this one alone.

    Each takes a copy of the model, so there are as many as free memory allows, and no more than
    threads. With an accelerator, a small study or a model of unknown size there is one.

    Args:
        config: The study; its `workers` decides where it is given.
        laid: The plan.
        reasons: Why each stage has to run; None where its result stands.
    """
    import psutil
    import torch

    threads = config.threads or torch.get_num_threads()
    known = kinds.kinds()
    todo = [stage for stage in laid.stages if reasons[stage.name] and known[stage.kind].model]
    if config.workers is not None:
        wanted = min(config.workers, max(1, len(todo)))
        return wanted, max(1, threads // wanted)
    accelerated = torch.accelerator.is_available() and config.device != "cpu"
    if accelerated or threads == 1 or len(todo) < 2:
        return 1, threads
    work, each = operations(config, todo), process_memory(config, laid)
    if work is None or each is None or work < LEAST:
        return 1, threads
    room = int(SHARE * psutil.virtual_memory().available // (each + PROCESS))
    wanted = max(1, min(threads, len(todo), room))
    return wanted, threads // wanted


def execute(
    place: Place,
    reasons: Mapping[str, str | None],
    report: Callable[[Outcome], None],
) -> list[Outcome]:
    """Run every stage whose result does not stand yet.

    Args:
        place: What each process needs to know, and how many there are.
        reasons: Why each stage has to run; None where its result stands.
        report: Told of every outcome as it comes.

    Returns:
        Outcomes in the plan's order, as :func:`langneurons.stages.runner.execute` gives them.
    """
    with Processes(place.workers, functools.partial(Worker, place)) as crew:
        # One that died for want of memory may find it when it is tried again, and alone.
        schedule = Schedule(crew, place.plan, reasons, report, alike=kinds.alike, retries=1)
        return schedule.run()
