"""The stages of the steering protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langneurons.artifacts import expanded, file_digest
from langneurons.data.tasks.base import TASKS
from langneurons.interface.context import Context
from langneurons.parts.steering.spec import SteeringSpec, WaySpec
from langneurons.stages.stage import Stage


def stages(spec: SteeringSpec, context: Context) -> list[Stage]:
    """For each target one stage without steering, and one a way."""
    name, _, where = spec.prompts.partition(":")
    asked: dict[str, Any] = {
        **spec.model_dump(exclude={"ways", "targets", "random", "matched", "prompts"}),
        "task": name,
        "files": _contents(where),
        "model": context.of.model,
        "dtype": context.dtype,
        "languages": context.languages,
        "seed": context.seed,
    }
    entries = (TASKS.get(name).__module__,)
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


def _contents(where: str) -> list[list[str]]:
    """Content of the files that the prompts lie in."""
    if not where:
        return []
    place = expanded(where)
    inside = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else []
    given: list[Path] = inside or [place]
    return [[path.name, file_digest(path)] for path in given if path.is_file()]
