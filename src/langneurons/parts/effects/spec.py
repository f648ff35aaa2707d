"""The units that matter most: keys."""

from __future__ import annotations

from pydantic import Field

from langneurons.interface.context import Context
from langneurons.interface.spec import Spec


class EffectsSpec(Spec):
    """The units of a set that matter most, one at a time, on their own language's text."""

    neurons: list[str] = Field(["lape"], description="Neuron sets looked into.")
    keep: int = Field(5, ge=1, description="Units measured on all held-out text.")
    screen: int = Field(4, ge=1, description="Blocks of the first look at every unit.")


def check(spec: EffectsSpec, context: Context) -> None:
    """Refuse sets that are not of the study."""
    context.need_held_out("effects")
    context.known_sets("effects", spec.neurons)
