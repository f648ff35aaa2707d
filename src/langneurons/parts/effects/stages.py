"""The stages that look for the units that matter most."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.effects.spec import EffectsSpec
from langneurons.stages.stage import Stage


def stages(spec: EffectsSpec, context: Context) -> list[Stage]:
    """One stage a set and language."""
    held = context.spec_of("perplexity")
    block = context.spec_of("statistics").block
    return [
        Stage(
            name=f"effects/{neurons}/{lang}",
            kind="effects",
            arguments={"neurons": neurons, "language": lang},
            settings={
                **spec.model_dump(exclude={"neurons"}),
                "value": held.value,
                **context.held_out([lang]),
            },
            parents=context.of_set(neurons),
            output=f"effects/{neurons}/{lang}.parquet",
            # About a hundred units, each on a few blocks.
            cost=1.5 * (100 * spec.screen * block / 1000 + spec.keep * held.tokens / 1000),
        )
        for neurons in spec.neurons
        for lang in context.rows_of(neurons)
    ]
