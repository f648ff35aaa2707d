"""Test-time overwrites: their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from langneurons.errors import unknown
from langneurons.interface.context import Context
from langneurons.interface.spec import Spec, WrittenValues
from langneurons.intervention.words import SCOPES
from langneurons.intervention.words import parse as parse_value


class InterventionsSpec(Spec):
    """Test-time overwrites, each beside its controls."""

    neurons: list[str] = Field(["lape"], description="Neuron sets overwritten.")
    adapter: str | list[str] = Field(
        "none", description="Adapter under which they are tested, or several."
    )
    values: WrittenValues = Field(
        ["mean", "P90", "zero", "P10"],
        description="Replacement values. P10@mlp.pre takes the statistic before the activation "
        "function, P10@mlp.pre@mlp.pre also writes it there; mean@en is the mean of English; "
        "mean@last is written over the last token alone, mean@rest over all others, mean@text over "
        "real tokens, mean@padding over padding.",
    )
    languages: list[str] | None = Field(None, description="Languages tested; default: all.")
    random: int = Field(2, ge=0, description="Same-size random draws.")
    matched: int = Field(0, ge=0, description="Random draws of units of the same activity.")


def intervened(spec: InterventionsSpec) -> list[str]:
    """Names of the adapters that are tested under interventions."""
    return [spec.adapter] if isinstance(spec.adapter, str) else list(spec.adapter)


def sites(spec: InterventionsSpec, context: Context) -> list[str]:
    """Sites at which values are taken, where they say so."""
    return list(
        dict.fromkeys(taken for value in spec.values if (taken := parse_value(value).taken))
    )


def check(spec: InterventionsSpec, context: Context) -> None:
    """Refuse languages, sets, values and adapters that are not of the study.

    Raises:
        InputError: Naming the first.
    """
    context.known_languages("interventions.languages", spec.languages)
    context.known_sets("interventions", spec.neurons)
    for value in spec.values:
        of = parse_value(value).language
        if of is not None and of not in context.languages:
            known = f"sites are mlp.pre and mlp.act, tokens {', '.join(SCOPES)}"
            raise unknown("language", of, context.languages, f"in value {value!r} ({known})")
    if sites(spec, context):
        for name in spec.neurons:
            if not context.site(name).startswith("mlp."):
                raise ValueError(
                    f"interventions.values: a value taken at another site needs MLP units, "
                    f"{name} is of {context.site(name)}"
                )
    adapters = context.spec_of("adapters") or {}
    if context.spec_of("tasks"):
        for name in intervened(spec):
            if name not in adapters:
                raise unknown("adapter", name, adapters, "in 'interventions.adapter'")


def repeat(given: Any, seeds: int) -> Any:
    """So many random draws, where the study does not say how many."""
    return {"random": seeds, **given} if isinstance(given, Mapping) else given
