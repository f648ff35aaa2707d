"""The stages of the perplexity-change matrix."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.perplexity.spec import PerplexitySpec
from langneurons.stages.stage import Stage


def stages(spec: PerplexitySpec, context: Context) -> list[Stage]:
    """One stage a set and row."""
    columns = spec.languages or context.languages
    stages = []
    for neurons in spec.neurons:
        for row in context.rows_of(neurons):
            # Controls are measured on the row's own language alone.
            passes = len(columns) + spec.random + spec.matched + spec.load
            stages.append(
                Stage(
                    name=f"perplexity/{neurons}/{row}",
                    kind="perplexity",
                    arguments={"neurons": neurons, "language": row},
                    settings={
                        **spec.model_dump(exclude={"neurons", "block"}),
                        **context.held_out(columns),
                    },
                    parents=context.of_set(neurons),
                    output=f"perplexity/{neurons}/{row}.parquet",
                    cost=1.5 * passes * spec.tokens / 1000,
                )
            )
    return stages
