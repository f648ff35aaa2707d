"""The stages of forcing a language."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.forcing.spec import ForcingSpec
from langneurons.stages.stage import Stage


def stages(spec: ForcingSpec, context: Context) -> list[Stage]:
    """One stage a pair of languages."""
    return [
        Stage(
            name=f"forcing/{off}-{on}",
            kind="forcing",
            arguments={"off": off, "on": on},
            settings={
                **spec.model_dump(exclude={"pairs"}),
                "languages": context.languages,
                **context.held_out([off]),
            },
            parents=context.of_set(spec.neurons),
            output=f"forcing/{off}-{on}.parquet",
            cost=3 * spec.prompts * spec.new_tokens / 1000,
        )
        for off, on in spec.pairs
    ]
