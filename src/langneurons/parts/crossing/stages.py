"""The stages that ask where a value was taken."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.crossing.spec import CrossingSpec
from langneurons.stages.stage import Stage


def stages(spec: CrossingSpec, context: Context) -> list[Stage]:
    """One stage a set and language."""
    readings = 5 if spec.per_batch else 4
    cells = readings * (1 + spec.random + spec.matched) * len(spec.values)
    return [
        Stage(
            name=f"crossing/{neurons}/{lang}",
            kind="crossing",
            arguments={"neurons": neurons, "language": lang},
            settings={
                **spec.model_dump(exclude={"languages", "neurons"}),
                **context.held_out([lang]),
            },
            parents=(*context.of_set(neurons), *context.statistics_of("mlp.pre")),
            output=f"crossing/{neurons}/{lang}.parquet",
            cost=1.5 * cells * context.spec_of("perplexity").tokens / 1000,
        )
        for neurons in spec.neurons
        for lang in spec.languages
    ]
