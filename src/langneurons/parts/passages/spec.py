"""The neuron explorer of the report: its keys."""

from __future__ import annotations

from pydantic import Field

from langneurons.interface.context import Context
from langneurons.interface.spec import Spec


class PassagesSpec(Spec):
    """The neuron explorer of the report: distributions, top passages and neighbours of units."""

    neurons: list[str] | None = Field(None, description="Neuron sets shown; default: all.")
    units: int = Field(500, ge=1, description="Units a language, at most; highest score first.")
    passages: int = Field(6, ge=0, description="Top-activating passages a unit.")
    before: int = Field(24, ge=0, description="Tokens shown before the marked one.")
    after: int = Field(12, ge=0, description="Tokens shown behind it.")
    near: int = Field(5, ge=0, description="Most correlated other units shown.")


def check(spec: PassagesSpec, context: Context) -> None:
    """Refuse sets that are not of the study."""
    context.known_sets("passages", spec.neurons)
