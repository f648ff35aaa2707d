"""A model with or without an intervention, and what tells two interventions apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from langneurons.artifacts import digest

if TYPE_CHECKING:
    from langneurons.models import LanguageModel


@contextlib.contextmanager
def intervened(lm: LanguageModel, intervention: Any) -> Iterator[None]:
    """Run the block under an intervention, or under none."""
    if intervention is None:
        yield
        return
    from langneurons.intervention import intervene

    with intervene(lm, intervention):
        yield


def describe_intervention(intervention: Any) -> Any:
    """What an intervention (or several) does, as plain values that two of them can be told by."""
    if intervention is None:
        return None
    if isinstance(intervention, (list, tuple)):
        return [describe_intervention(item) for item in intervention]
    units = intervention.units
    value = intervention.value
    resolved = value.resolve() if hasattr(value, "resolve") else value
    return {
        "name": getattr(intervention, "name", None),
        "site": intervention.site,
        "mode": intervention.mode,
        "scope": intervention.scope,
        "units": digest(units.layers, units.indices),
        "value": resolved if isinstance(resolved, (int, float)) else digest(resolved),
    }
