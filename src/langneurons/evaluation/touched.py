"""A model with or without an intervention, and what tells two interventions apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langneurons.intervention import Intervention, as_interventions, intervene

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

Interventions = Intervention | Sequence[Intervention] | None


@contextlib.contextmanager
def intervened(lm: LanguageModel, intervention: Interventions) -> Iterator[None]:
    """Run the block under an intervention (or several), or under none."""
    if intervention is None:
        yield
        return
    with intervene(lm, intervention):
        yield


def describe_intervention(intervention: Interventions) -> list[dict[str, Any]]:
    """What interventions do, as plain values that are equal exactly when the effect is."""
    return [{"name": item.name, **item.identity()} for item in as_interventions(intervention)]
