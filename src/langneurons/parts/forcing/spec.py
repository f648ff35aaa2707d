"""Forcing a language: its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from langneurons import defaults
from langneurons.interface.context import Context
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec, Value


class ForcingSpec(Spec):
    """Which language the model writes with one language's units off and another's on."""

    neurons: str = Field("lape", description="Neuron set.")
    pairs: list[tuple[str, str]] = Field(
        min_length=1, description="[off, on]: off is set to zero, on to `value`."
    )
    value: Value = Field("P90", description="Value written over the second language's units.")
    prompts: int = Field(20, ge=1, description="Held-out documents whose beginning is continued.")
    prompt_words: int = Field(12, ge=1, description="Words (or characters) of a prompt.")
    new_tokens: int = Field(defaults.NEW_TOKENS, ge=1, description="Tokens written for each.")


def check(spec: ForcingSpec, context: Context) -> None:
    """Refuse languages and sets that are not of the study."""
    for pair in spec.pairs:
        context.known_languages("forcing.pairs", pair)
    context.need_held_out("forcing")
    context.known_sets("forcing", spec.neurons)


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """Without pairs of languages that are gone."""
    return gone.rest(given, {"pairs": gone.any_language})
