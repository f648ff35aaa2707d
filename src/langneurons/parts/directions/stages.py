"""The stages that find directions."""

from __future__ import annotations

from collections.abc import Mapping

from langneurons.interface.context import Context
from langneurons.parts.directions.spec import DirectionsSpec
from langneurons.stages.stage import Stage


def stages(specs: Mapping[str, DirectionsSpec], context: Context) -> list[Stage]:
    """One stage a set of directions."""
    return [
        Stage(
            name=f"directions/{name}",
            kind="directions",
            arguments={"name": name},
            settings={**spec.model_dump(), "all": context.languages, "seed": context.seed},
            parents=context.statistics_of(spec.site),
            output=f"directions/{name}",
            cost=1.0,
        )
        for name, spec in specs.items()
    ]
