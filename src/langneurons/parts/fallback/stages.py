"""The stages of falling back on other languages."""

from __future__ import annotations

from langneurons.interface.context import Context
from langneurons.parts.fallback.spec import FallbackSpec
from langneurons.stages.stage import Stage


def stages(spec: FallbackSpec, context: Context) -> list[Stage]:
    """One stage a language begun with."""
    draws = 1 + spec.random + spec.matched
    return [
        Stage(
            name=f"fallback/{start}",
            kind="fallback",
            arguments={"start": start},
            settings={
                **spec.model_dump(exclude={"starts"}),
                "languages": context.languages,
                "seed": context.seed,
                **context.held_out([start]),
            },
            parents=context.of_set(spec.neurons),
            output=f"fallback/{start}.parquet",
            cost=(1 + draws * spec.steps) * spec.prompts * spec.new_tokens / 1000,
        )
        for start in spec.starts
    ]
