"""The stages that ask what else a unit says."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.polysemanticity.spec import PolysemanticitySpec
from langneurons.stages.stage import Stage


def stages(spec: PolysemanticitySpec, context: Context) -> list[Stage]:
    """One stage a language."""
    passes = spec.examples + 3 * spec.tested * (2 * spec.harm_units + 1)
    return [
        Stage(
            name=f"polysemanticity/{spec.neurons}/{lang}",
            kind="polysemanticity",
            arguments={"language": lang},
            settings={
                **spec.model_dump(exclude={"languages"}),
                "source": context.of.tasks[spec.task],
                "seed": context.seed,
            },
            parents=context.of_set(spec.neurons),
            output=f"polysemanticity/{spec.neurons}/{lang}",
            entries=context.task_module(spec.task),
            cost=0.1 * passes,
        )
        for lang in spec.languages
    ]
