"""Directions between languages: keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from langneurons.interface.context import Context, known_site
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec


class DirectionsSpec(Spec):
    """One direction a language and layer, from the study's statistics, beside random ones."""

    method: Literal["difference", "pca", "lda", "probe"] = Field(
        "difference", description="How it is found; difference: of means, or a language vector."
    )
    site: str = Field("resid", description="Where it lives; resid: residual stream.")
    source: str | None = Field(
        None, description="Language to lead away from; default: all others, each alike."
    )
    beta: float = Field(
        1.0, description="Share of the source's mean that is taken off (difference alone)."
    )
    languages: list[str] | None = Field(None, description="Languages; default: all.")
    random: int = Field(2, ge=0, description="Random directions of the same length, kept beside.")


def check(specs: Mapping[str, DirectionsSpec], context: Context) -> None:
    """Refuse languages that are not of the study, and what the method does not take.

    Raises:
        ValueError: If there is one language only, or beta is given to another method.
    """
    for name, spec in specs.items():
        place = f"directions.{name}"
        context.known_languages(place, [*(spec.languages or ()), *filter(None, [spec.source])])
        if spec.beta != 1.0 and spec.method != "difference":
            raise ValueError(f"{place}: beta is of the method difference: leave it out")
        if not found(spec, context) or len(context.languages) < 2:
            raise ValueError(f"{place} leads from one language to another: add a language")


def verify(specs: Mapping[str, DirectionsSpec], context: Context) -> None:
    """Refuse a site that no model has."""
    for name, spec in specs.items():
        known_site(spec.site, f"in 'directions.{name}'")


def found(spec: DirectionsSpec, context: Context) -> list[str]:
    """Languages that have a direction."""
    return [lang for lang in spec.languages or context.languages if lang != spec.source]


def sites(specs: Mapping[str, DirectionsSpec], context: Context) -> list[str]:
    """Where the directions live."""
    return [spec.site for spec in specs.values()]


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """The languages that are left; none without the source."""
    return gone.rest(given, {"source": gone.language})
