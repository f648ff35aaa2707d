"""Linear subspaces that tell languages apart: keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from langneurons.interface.context import Context, known_site
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec


class SubspacesSpec(Spec):
    """Erasing or moving language information linearly, beside neurons and random subspaces."""

    site: str = Field("resid", description="Where the subspaces live; resid: residual stream.")
    layers: list[int] | None = Field(
        None,
        description="Layers, singly and together; default: first, middle, last but one.",
    )
    kinds: list[Literal["mean", "pca", "lda", "leace"]] = Field(
        ["mean", "lda", "leace"], min_length=1, description="Kinds of subspace."
    )
    neurons: str | None = Field(None, description="Neuron set at the same site, set to its mean.")
    languages: list[str] | None = Field(None, description="Languages measured; default: all.")
    random: int = Field(2, ge=0, description="Random subspaces (and units) of the same size.")
    rows: int = Field(1000, ge=10, description="Token rows of each language, in either half.")
    task: str | None = Field(None, description="Task whose answers' loss is measured.")
    task_languages: list[str] = Field(default_factory=list, description="In these languages.")
    examples: int = Field(60, ge=1, description="Examples of the task in each.")
    moves: list[tuple[str, str]] = Field(
        default_factory=list, description="[from, to]: text of one moved to the other's mean."
    )


def check(specs: Mapping[str, SubspacesSpec], context: Context) -> None:
    """Refuse languages, sets and tasks that are not of the study, or of another site."""
    context.need_held_out("subspaces")
    for name, spec in specs.items():
        place = f"subspaces.{name}"
        pairs = [lang for pair in spec.moves for lang in pair]
        context.known_languages(place, [*(spec.languages or ()), *pairs])
        context.known_sets(place, spec.neurons)
        context.known_task(place, spec.task)
        if spec.neurons and context.site(spec.neurons) != spec.site:
            raise ValueError(
                f"{place}: {spec.neurons} is of {context.site(spec.neurons)}, not of {spec.site}"
            )


def verify(specs: Mapping[str, SubspacesSpec], context: Context) -> None:
    """Refuse a site that no model has."""
    for name, spec in specs.items():
        known_site(spec.site, f"in part {name!r}")


def sites(specs: Mapping[str, SubspacesSpec], context: Context) -> list[str]:
    """Where the subspaces live."""
    return [spec.site for spec in specs.values()]


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """Moves of a language that is gone go; the rest is measured without any, too."""
    rest = gone.rest(given, {"task_languages": gone.language})
    moves = given.get("moves")
    if rest is not None and isinstance(moves, list):
        rest["moves"] = [pair for pair in moves if not gone.any_language(pair)]
    return rest
