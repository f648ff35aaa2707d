"""Falling back on other languages: its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from langneurons.interface.context import Context
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec, Value


class FallbackSpec(Spec):
    """Which language the model writes when languages are switched off one after another."""

    neurons: str = Field("lape", description="Neuron set.")
    starts: list[str] = Field(
        min_length=1, description="Languages of the prompts; each is switched off first."
    )
    steps: int = Field(3, ge=1, description="Languages switched off in the end, at most.")
    value: Value = Field("zero", description="What is written over the units of each.")
    random: int = Field(1, ge=0, description="Same-size random draws, at every step.")
    matched: int = Field(0, ge=0, description="Random draws of units of the same activity.")
    prompts: int = Field(20, ge=1, description="Held-out documents whose beginning is continued.")
    prompt_words: int = Field(4, ge=1, description="Words (or characters) of a prompt.")
    new_tokens: int = Field(24, ge=1, description="Tokens written for each.")


def check(spec: FallbackSpec, context: Context) -> None:
    """Refuse languages and sets that are not of the study."""
    context.known_languages("fallback.starts", spec.starts)
    context.need_held_out("fallback")
    context.known_sets("fallback", spec.neurons)


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """Without starts in languages that are gone."""
    return gone.rest(given, {"starts": gone.language})
