"""The stages that gather what the explorer shows."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.passages.spec import PassagesSpec
from langneurons.stages.stage import Stage


def stages(spec: PassagesSpec, context: Context) -> list[Stage]:
    """One stage a neuron set; at most every document of the statistics passes forward once more."""
    collected = context.spec_of("statistics")
    shown = spec.units * spec.passages * collected.block
    cost = len(context.languages) * min(shown, collected.tokens) / 1000
    return [
        Stage(
            name=f"passages/{neurons}",
            kind="passages",
            arguments={"neurons": neurons},
            settings=spec.model_dump(exclude={"neurons"}),
            parents=context.of_set(neurons),  # the text is in the statistics' keys
            output=f"passages/{neurons}",
            cost=cost,
        )
        for neurons in spec.neurons or context.sets
    ]
