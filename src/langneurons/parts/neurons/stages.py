"""The stages that find neuron sets, derive others, and compare them."""

from __future__ import annotations

from collections.abc import Mapping

from langneurons.artifacts import expanded, file_digest
from langneurons.interface.context import Context
from langneurons.parts.neurons.spec import NeuronsSpec, found
from langneurons.stages.stage import Stage


def stages(sets: Mapping[str, NeuronsSpec], context: Context) -> list[Stage]:
    """One stage a set, and one for what they have in common."""
    stages = [
        _found(name, spec, context) if spec.derive is None else _derived(name, spec, context)
        for name, spec in sets.items()
    ]
    names = tuple(f"neurons/{name}" for name in found(sets))
    if names:
        stages.append(Stage("overlap", "overlap", {}, {}, names, "overlap.parquet"))
    return stages


def _found(name: str, spec: NeuronsSpec, context: Context) -> Stage:
    if spec.file is not None:
        path = expanded(spec.file)
        return Stage(
            name=f"neurons/{name}",
            kind="read",
            arguments={"neurons": name},
            settings={
                **spec.model_dump(include={"file", "languages", "site"}),
                "content": file_digest(path) if path.is_file() else None,
            },
            parents=context.statistics_of(context.site(name)),
            output=f"neurons/{name}.json",
            cost=0.1,
        )
    return Stage(
        name=f"neurons/{name}",
        kind="neurons",
        arguments={"neurons": name},
        settings=spec.model_dump(include={"method", "languages", "parameters"}),
        parents=context.statistics_of(context.site(name)),
        output=f"neurons/{name}.json",
        entries=context.method_module(name),
    )


def _derived(name: str, spec: NeuronsSpec, context: Context) -> Stage:
    source = str(spec.derive)
    parents = [f"neurons/{source}"]
    if spec.without_top:
        parents += [f"effects/{source}/{lang}" for lang in context.rows_of(source)]
    return Stage(
        name=f"neurons/{name}",
        kind="derived",
        arguments={"neurons": name},
        settings=spec.model_dump(include={"derive", "exclusive", "without_top"}),
        parents=tuple(parents),
        output=f"neurons/{name}.json",
    )
