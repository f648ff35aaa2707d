"""A sweep of values beside each unit's own range: its keys."""

from __future__ import annotations

from pydantic import Field

from langneurons.interface.context import Context
from langneurons.interface.spec import Spec, Values


class DeactivationSpec(Spec):
    """A sweep of values, joined with each unit's own range and the next layer's view."""

    neurons: str = Field("lape", description="Neuron set.")
    languages: list[str] = Field(min_length=1, description="Languages swept.")
    values: Values = Field(
        ["-1", "zero", "1", "P10", "P50", "P90", "mean"], description="Values written."
    )
    random: int = Field(2, ge=0, description="Same-size random draws.")
    matched: int = Field(2, ge=0, description="Random draws of units of the same activity.")
    residual_blocks: int = Field(
        8, ge=1, description="Blocks on which the residual stream is compared."
    )


def check(spec: DeactivationSpec, context: Context) -> None:
    """Refuse languages and sets that are not of the study."""
    context.known_languages("deactivation.languages", spec.languages)
    context.need_held_out("deactivation")
    context.known_sets("deactivation", spec.neurons)
