"""The stages that ask what deactivates a unit."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.deactivation.spec import DeactivationSpec
from langneurons.stages.stage import Stage


def stages(spec: DeactivationSpec, context: Context) -> list[Stage]:
    """One stage a language."""
    draws = 1 + spec.random + spec.matched
    tokens = (
        context.spec_of("perplexity").tokens
        + 2 * spec.residual_blocks * context.spec_of("statistics").block
    )
    return [
        Stage(
            name=f"deactivation/{spec.neurons}/{lang}",
            kind="deactivation",
            arguments={"language": lang},
            settings={
                **spec.model_dump(exclude={"languages"}),
                **context.held_out([lang]),
            },
            parents=context.of_set(spec.neurons),
            output=f"deactivation/{spec.neurons}/{lang}",
            cost=1.5 * draws * len(spec.values) * tokens / 1000,
        )
        for lang in spec.languages
    ]
