"""The stages of the steering protocol."""

from __future__ import annotations

from typing import Any

from langneurons.interface.context import Context
from langneurons.parts.steering.spec import SteeringSpec, WaySpec
from langneurons.parts.tasks.stages import source as asked_of
from langneurons.stages.stage import Stage


def stages(spec: SteeringSpec, context: Context) -> list[Stage]:
    """For each target one stage without steering, and one a way."""
    asked: dict[str, Any] = {
        **spec.model_dump(exclude={"ways", "targets", "random", "matched"}),
        **asked_of(context, spec.prompts),
        "split": context.spec_of("tasks")[spec.prompts].split,
        "languages": context.languages,
        "seed": context.seed,
    }
    entries = context.task_module(spec.prompts)
    answer = 2 * spec.new_tokens + 40  # tokens passed for one, about
    found = []
    for lang in spec.targets:
        prompts = f"steering/prompts/{lang}"
        found.append(
            Stage(
                name=prompts,
                kind="steering_prompts",
                arguments={"language": lang},
                settings=asked,
                parents=(),
                output=f"{prompts}.parquet",
                entries=entries,
                cost=3 * (spec.choose + spec.test) * answer / 1000,
            )
        )
        for way, about in spec.ways.items():
            draws = 1 + spec.random + spec.matched
            tokens = (about.tried * spec.choose + draws * spec.test) * answer
            tokens += 3 * draws * context.spec_of("perplexity").tokens
            found.append(
                Stage(
                    name=f"steering/ways/{way}/{lang}",
                    kind="steering",
                    arguments={"way": way, "language": lang},
                    settings={
                        **asked,
                        **about.model_dump(),
                        "random": spec.random,
                        "matched": spec.matched,
                        "text": context.held_out([spec.source, lang]),
                    },
                    parents=(prompts, *_parents(about, context)),
                    output=f"steering/ways/{way}/{lang}",
                    entries=entries,
                    cost=tokens / 1000,
                )
            )
    return found


def _parents(way: WaySpec, context: Context) -> tuple[str, ...]:
    if way.neurons is not None:
        return context.of_set(way.neurons)
    if way.features is not None:
        return (f"feature_languages/{way.features}", f"features/{way.features}")
    site = context.spec_of("directions")[way.directions].site
    return (f"directions/{way.directions}", *context.statistics_of(site))
