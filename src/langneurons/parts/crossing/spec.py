"""Values taken at one site and written at another: keys."""

from __future__ import annotations

from pydantic import Field, field_validator

from langneurons.interface.context import Context
from langneurons.interface.spec import Spec, check_value


class CrossingSpec(Spec):
    """Statistics of mlp.pre written to mlp.act, as the paper's code does, or at the right site."""

    neurons: list[str] = Field(["lape"], description="Neuron sets of mlp.act.")
    languages: list[str] = Field(min_length=1, description="Languages looked at.")
    values: list[str] = Field(["mean", "P10", "P90"], description="mean, or percentiles.")
    random: int = Field(2, ge=0, description="Same-size random draws.")
    matched: int = Field(0, ge=0, description="Random draws of units of the same activity.")
    per_batch: bool = Field(
        False, description="Also the mean over batches of each batch's own percentile."
    )

    @field_validator("values")
    @classmethod
    def _statistics(cls, values: list[str]) -> list[str]:
        for value in values:
            if value != "mean" and not (value.startswith("P") and check_value(value)):
                raise ValueError(f"value {value!r} is no statistic: give mean or a percentile")
        return values


def check(spec: CrossingSpec, context: Context) -> None:
    """Refuse languages and sets that are not of the study."""
    context.known_languages("crossing.languages", spec.languages)
    context.need_held_out("crossing")
    context.known_sets("crossing", spec.neurons)


def sites(spec: CrossingSpec, context: Context) -> list[str]:
    """The site before the activation function."""
    return ["mlp.pre"]
