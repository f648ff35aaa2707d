"""A model with or without an intervention, and what tells two interventions apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langneurons.errors import InputError
from langneurons.intervention import Change, as_interventions, intervene

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

Interventions = Change | Sequence[Change] | None


Scoring = Literal["perplexity", "likelihood", "head", "padded head", "generation"]

_WITHOUT_EFFECT: dict[str, dict[Scoring, str]] = {
    "generated": {
        "perplexity": "no token is generated",
        "likelihood": "no token is generated",
        "head": "no token is generated",
        "padded head": "no token is generated",
    },
    "last": {
        "perplexity": "nothing is predicted from the last token of a block",
        "likelihood": "nothing is predicted from the last token of a label",
    },
    "padding": {
        "perplexity": "no real token sees the padding",
        "likelihood": "no real token sees the padding",
        "head": "the head reads the last real token, which does not see the padding",
        "generation": "no real token sees the padding",
    },
}
"""Scopes that reach no scored token, by how scores come about, and why."""


@contextlib.contextmanager
def intervened(
    lm: LanguageModel, intervention: Interventions, scoring: Scoring | None = None
) -> Iterator[None]:
    """Run the block under an intervention (or several), or under none.

    Args:
        lm: The model.
        intervention: What is written over which units.
        scoring: How the block scores, where it does.

    Raises:
        InputError: If nothing that is scored depends on the tokens an intervention touches: its
            effect would be none whatever the units do.
    """
    items = as_interventions(intervention)
    for item in items:
        reason = _WITHOUT_EFFECT.get(item.scope, {}).get(scoring) if scoring else None
        if reason is not None:
            raise InputError(
                f"the scope {item.scope!r} touches no scored token here, so its effect would "
                f"always be none ({reason}): choose another scope or another way to score."
            )
    if not items:
        yield
        return
    with intervene(lm, items):
        yield


def describe_intervention(intervention: Interventions) -> list[dict[str, Any]]:
    """What interventions do, as plain values that are equal exactly when the effect is."""
    return [{"name": item.name, **item.identity()} for item in as_interventions(intervention)]
