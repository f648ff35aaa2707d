"""The stages of a sweep."""

from __future__ import annotations

from typing import Any

from langneurons.interface.context import Context
from langneurons.parts.adapters.spec import first_run, trainings
from langneurons.parts.sweep.spec import SweepSpec
from langneurons.parts.tasks.stages import tested
from langneurons.stages.stage import Stage


def stages(spec: SweepSpec, context: Context) -> list[Stage]:
    """One stage a language swept."""
    draws = 1 + spec.random + spec.matched + spec.load
    points = len(spec.values) + len(spec.shares or ()) + (spec.bands or 0)
    # Keys a study leaves out are left out here too: what was swept before keeps its results.
    settings = spec.model_dump(exclude={"languages", "adapter"}, exclude_none=True)
    under: dict[str, Any] = {}
    parents = context.of_set(spec.neurons)
    tokens = 1.5 * context.spec_of("perplexity").tokens
    # The sets of other shares are found anew.
    entries = context.method_module(spec.neurons) if spec.shares else ()
    if spec.task is not None:
        task = context.spec_of("tasks")[spec.task]
        under = {"adapter": first_run(context.spec_of("adapters"), spec.adapter)}
        settings |= {"test": tested(context, spec.task)}
        trained = trainings(spec.task, under["adapter"], context.spec_of("adapters"))
        under |= {} if trained else {"trained": False}
        parents = (*parents, *trained)
        entries += context.task_module(spec.task)
        tokens += (task.limit or 1000) * task.tokens
    return [
        Stage(
            name=f"sweep/{spec.neurons}/{lang}",
            kind="sweep",
            arguments={"language": lang, **under},
            settings={**settings, **context.held_out([lang])},
            parents=parents,
            output=f"sweep/{spec.neurons}/{lang}.parquet",
            entries=entries,
            cost=draws * points * tokens / 1000,
        )
        for lang in spec.languages
    ]
