"""The explorer's part of a study: its keys, its stages, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from langneurons.study.spec import Spec

if TYPE_CHECKING:
    from langneurons.study.plan import Stage
    from langneurons.study.schema import StudyConfig
    from langneurons.study.workshop import Workshop


class PassagesSpec(Spec):
    """The neuron explorer of the report: distributions, top passages and neighbours of units."""

    neurons: list[str] | None = Field(None, description="Neuron sets shown; default: all.")
    units: int = Field(500, ge=1, description="Units a language, at most; highest score first.")
    passages: int = Field(6, ge=0, description="Top-activating passages a unit.")
    before: int = Field(24, ge=0, description="Tokens shown before the marked one.")
    after: int = Field(12, ge=0, description="Tokens shown behind it.")
    near: int = Field(5, ge=0, description="Most correlated other units shown.")


def stages(config: StudyConfig) -> list[Stage]:
    """One stage a neuron set; none where the study has no explorer."""
    from langneurons.study.plan import Stage, of_set

    spec = config.passages
    if spec is None:
        return []
    return [
        Stage(
            name=f"passages/{neurons}",
            kind="passages",
            arguments={"neurons": neurons},
            settings=spec.model_dump(exclude={"neurons"}),
            parents=of_set(config, neurons),  # the text is in the statistics' keys
            output=f"passages/{neurons}",
        )
        for neurons in spec.neurons or config.neurons
    ]


def passages(workshop: Workshop, output: Path, neurons: str) -> None:
    """Gather what the explorer shows of a neuron set."""
    from langneurons.reporting.explorer import gather

    spec = workshop.config.passages
    assert spec is not None
    found = workshop.neurons(neurons)
    tables = gather.explore(
        workshop.statistics(found.site),
        found,
        workshop.statistics_texts(),
        workshop.tokenizer,
        **spec.model_dump(exclude={"neurons"}),
    )
    gather.save(tables, output)
