"""What a stage of a sweep does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop
from langneurons.parts.sweep.spec import SweepSpec

if TYPE_CHECKING:
    from langneurons.evaluation import Scores
    from langneurons.evaluation.sweep import TaskScore
    from langneurons.intervention import Intervention


def sweep(
    workshop: Workshop,
    output: Path,
    language: str,
    adapter: str | None = None,
    trained: bool = True,
) -> None:
    """Sweep one language's units; the adapter's name is that of its training, if it has one."""
    from langneurons.evaluation import sweep as swept

    spec = workshop.context.spec_of("sweep")
    site = workshop.context.site(spec.neurons)
    at = [spec.at or "zero"] if spec.shares or spec.bands else []
    changes = {name: workshop.change(name, language, site) for name in [*spec.values, *at]}
    table = swept.sweep(
        workshop.lm,
        workshop.neurons(spec.neurons),
        language,
        workshop.held_out_blocks(language),
        {name: (change["value"], change.get("mode", "set")) for name, change in changes.items()},
        at=at,
        shares=spec.shares or (),
        bands=spec.bands or 0,
        controls={"random": spec.random, "matched": spec.matched, "load": spec.load},
        stats=workshop.statistics(site),
        baseline=workshop.baseline,
        seed=workshop.context.seed,
        task=_task_score(workshop, spec, language, adapter, trained),
    )
    names = {"language": language, "neurons": spec.neurons}
    names |= {"task": spec.task} if spec.task is not None else {}
    write_table(output, table.rename(columns={"units": "count", "share": "units"}).assign(**names))


def _task_score(
    workshop: Workshop, spec: SweepSpec, language: str, adapter: str | None, trained: bool
) -> TaskScore | None:
    """The task of a sweep, under its adapter."""
    from langneurons.evaluation import evaluate
    from langneurons.evaluation.sweep import TaskScore

    if spec.task is None or adapter is None:
        return None
    name, task = spec.task, workshop.context.spec_of("tasks")[spec.task]

    def score(intervention: Intervention | None) -> Scores:
        return evaluate(
            workshop.adapted(name, adapter) if trained else workshop.lm,
            workshop.task(name), language, intervention=intervention, split=task.split,
            limit=task.limit, protocol=workshop.context.protocol,
        )  # fmt: skip

    return TaskScore(score)
