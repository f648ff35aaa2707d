"""The stages that erase languages linearly."""

from __future__ import annotations

from collections.abc import Mapping

from langneurons.interface.context import Context
from langneurons.parts.subspaces.spec import SubspacesSpec
from langneurons.stages.stage import Stage


def stages(specs: Mapping[str, SubspacesSpec], context: Context) -> list[Stage]:
    """One stage a part of the study file."""
    stages = []
    for name, spec in specs.items():
        languages = spec.languages or context.languages
        parents = context.statistics_of(spec.site)
        if spec.neurons:
            parents = (f"neurons/{spec.neurons}", *parents)
        layers = len(spec.layers or (0, 1, 2)) + 1
        plans = layers * (len(spec.kinds) + spec.random * (2 if spec.neurons else 1) + 1)
        tokens = len(languages) * (context.spec_of("perplexity").tokens + 3000)
        stages.append(
            Stage(
                name=f"subspaces/{name}",
                kind="subspaces",
                arguments={"name": name},
                settings={
                    **spec.model_dump(),
                    **context.held_out(languages),
                    "source": context.of.tasks[spec.task] if spec.task else None,
                    "split": context.spec_of("tasks")[spec.task].split if spec.task else None,
                },
                parents=parents,
                output=f"subspaces/{name}",
                entries=context.task_module(spec.task) if spec.task else (),
                cost=1.5 * plans * tokens / 1000,
            )
        )
    return stages
