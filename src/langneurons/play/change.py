"""What is to happen to the neurons of some languages, as one types it, and as interventions."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from langneurons.errors import InputError, unknown
from langneurons.intervention import Intervention, Value
from langneurons.intervention.interventions import Mode, Scope

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.statistics import Statistics

ACTIONS: dict[str, str] = {
    "off": "off",
    "mean": "held at the language's mean",
    "percentile": "held at a percentile of the language",
    "other": "held at another language's mean",
    "multiply": "multiplied",
}
"""What can happen to neurons, in words."""

SCOPES: dict[str, str] = {
    "all": "all tokens",
    "prompt": "the prompt alone",
    "generated": "what is written alone",
    "last": "the last token alone",
}
"""At which tokens, in words."""


@dataclass(frozen=True)
class Change:
    """What happens to the neurons of the chosen languages.

    Attributes:
        languages: Languages of the neuron set.
        action: A key of :data:`ACTIONS`.
        percentile: From 0 to 100, for ``percentile``.
        factor: For ``multiply``.
        source: The other language, for ``other``.
        scope: A key of :data:`SCOPES`.
        layers: Layers as typed, such as ``0-3, 7``; empty for all.
    """

    languages: tuple[str, ...] = ()
    action: str = "off"
    percentile: float | None = 90.0
    factor: float | None = 2.0
    source: str | None = None
    scope: str = "all"
    layers: str = ""

    @property
    def words(self) -> str:
        """What happens, short, for the head of a column."""
        what = {
            "percentile": f"held at P{self.percentile}",
            "other": f"held at {self.source}'s mean",
            "multiply": f"times {self.factor}",
            "mean": "held at the mean",
        }.get(self.action, self.action)
        where = [] if self.scope == "all" else [SCOPES.get(self.scope, self.scope)]
        where += [f"layers {self.layers.strip()}"] if self.layers.strip() else []
        return ", ".join([what, *where])


def parse_layers(typed: str, count: int) -> tuple[int, ...] | None:
    """Layers from ``0-3, 7``; None where nothing is typed, which is all of them.

    Args:
        typed: Numbers and ranges (both ends included), with commas.
        count: Layers of the model.

    Raises:
        InputError: If it is neither, or a layer does not exist.

    Example:
        >>> parse_layers("0-2, 5", 6)
        (0, 1, 2, 5)
    """
    if not typed.strip():
        return None
    found: set[int] = set()
    for part in typed.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
        if match is None:
            raise InputError(f"layers {typed!r} must be numbers and ranges, such as 0-3, 7.")
        low, high = int(match[1]), int(match[2] or match[1])
        if not low <= high < count:
            raise InputError(
                f"layers {typed!r}: the model has layers 0 to {count - 1}, lower first; choose "
                "among them."
            )
        found |= set(range(low, high + 1))
    return tuple(sorted(found))


def interventions(
    change: Change, neurons: NeuronSet, statistics: Statistics | None
) -> list[Intervention]:
    """The interventions of a change, one a language, in their order.

    Args:
        change: What is wished for.
        neurons: The units; a control set gives the same change of other units.
        statistics: Where values come from; a unit is written its own mean, also in a control.

    Raises:
        InputError: If a part of the change is unknown, out of range, needs statistics that are not
            there, or leaves no unit to change.
    """
    for lang in change.languages:
        if lang not in neurons:
            raise unknown("language of the neuron set", lang, neurons)
    if change.scope not in SCOPES:
        raise unknown("scope", change.scope, SCOPES)
    layers = parse_layers(change.layers, neurons.shape[0])
    made = []
    for lang in change.languages:
        value, mode = _value(change, lang, statistics)
        scope = cast("Scope", change.scope)
        item = Intervention(neurons[lang], value, mode, neurons.site, scope=scope, layers=layers)
        if not len(item.chosen):
            where = "in these layers" if layers is not None else "in this set"
            raise InputError(
                f"{lang} has no neurons {where}: choose other layers or another language."
            )
        made.append(item)
    return made


def _value(change: Change, lang: str, statistics: Statistics | None) -> tuple[Value | float, Mode]:
    if change.action == "off":
        return 0.0, "set"
    if change.action == "multiply":
        if change.factor is None or not math.isfinite(change.factor):
            raise InputError("the factor to multiply by must be a number, such as 2.")
        return float(change.factor), "multiply"
    if change.action not in ACTIONS:
        raise unknown("action", change.action, ACTIONS)
    if statistics is None:
        raise InputError(
            f"{ACTIONS[change.action]!r} needs statistics: start the page with --statistics DIR, "
            "or choose off or multiply."
        )
    if change.action == "mean":
        return Value.mean(statistics, lang), "set"
    if change.action == "other":
        if not change.source:
            raise InputError("no other language is chosen: choose the one whose mean is taken.")
        return Value.mean(statistics, change.source), "set"
    if change.percentile is None or not 0 <= change.percentile <= 100:
        raise InputError(f"a percentile must lie within 0 to 100, not {change.percentile}.")
    return Value.quantile(statistics, lang, change.percentile / 100), "set"
