"""Sweeps: an effect over the value written, the share of units taken and the band of layers."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from langneurons.errors import InputError, unknown
from langneurons.evaluation.comparison import compare
from langneurons.evaluation.language_modelling import PerplexityResult
from langneurons.evaluation.matrix import control_sets, perplexity_changes
from langneurons.identification import METHODS, NeuronSet, identify
from langneurons.intervention import Intervention, Value
from langneurons.intervention.interventions import Mode

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.evaluation.scores import Scores
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

Axis = Literal["value", "share", "layers"]
_ORIGIN = {"languages", "found", "found_at"}
"""Parameters of a neuron set that say how it was found, not with which settings."""


@dataclass(frozen=True)
class Point:
    """One set of units to overwrite, and where it lies on its axis.

    Attributes:
        axis: What is swept: ``value``, ``share`` of all units, or ``layers``.
        label: Where the point lies: the value's name, ``0.5 %``, or ``6-11``.
        neurons: Units of one language.
    """

    axis: Axis
    label: str
    neurons: NeuronSet

    @property
    def share(self) -> str:
        """The language's own units as a share of all units of the model: ``0.26 %``."""
        (units,) = self.neurons.values()
        layers, width = self.neurons.shape
        return f"{100 * len(units) / (layers * width):.2g} %"


def resized(found: NeuronSet, statistics: Statistics, share: float) -> NeuronSet:
    """The same method with the same settings, but for the share of all units it takes (``top``).

    Args:
        found: A set as its method found it.
        statistics: The statistics it was found in.
        share: Share of all units, above 0 and at most 1; what it counts (all languages together,
            or each language) is the method's.

    Raises:
        InputError: If the set's method reads no statistics or takes no share, or if the set was
            cut after it had been found.
    """
    if not 0 < share <= 1:
        raise InputError(f"a share of units must lie above 0 up to 1 (0.01 is 1 %), not {share}.")
    entry = METHODS.get(found.method) if found.method in METHODS else None
    if entry is None or entry.needs == "model" or "top" not in entry.parameters:
        raise InputError(
            f"the method {found.method!r} cannot find another share of units from statistics: "
            "use a set of lape or another method that takes `top`."
        )
    changed = sorted(set(found.parameters) - set(entry.parameters) - _ORIGIN)
    if changed:
        raise InputError(
            f"the neuron set was cut after it had been found ({', '.join(changed)}): use the "
            "whole set."
        )
    settings = {name: found.parameters[name] for name in entry.parameters}
    with warnings.catch_warnings():
        # A small share may leave a language with no unit; the table says how many there are.
        warnings.filterwarnings("ignore", message=".*finds no unit for language")
        again = identify(
            statistics,
            method=found.method,
            languages=found.parameters.get("languages", list(found)),
            **{**settings, "top": float(share)},
        )
    return again.at(found.site)


def share_points(
    found: NeuronSet, language: str, shares: Iterable[float], statistics: Statistics
) -> list[Point]:
    """A point for each share of all units that the set's method takes; see :func:`resized`."""
    return [
        Point("share", f"{100 * share:g} %", resized(found, statistics, share).select([language]))
        for share in shares
    ]


def band_points(found: NeuronSet, language: str, bands: int) -> list[Point]:
    """The language's units in each of ``bands`` consecutive groups of layers, as equal as can be.

    Raises:
        InputError: If there are fewer layers than bands.
    """
    layers = found.shape[0]
    if not 1 <= bands <= layers:
        raise InputError(f"cannot part {layers} layers into {bands} bands: choose 1 to {layers}.")
    ends = [round(number * layers / bands) for number in range(bands + 1)]
    own = found.select([language])
    return [
        Point(
            "layers",
            f"{first}-{last - 1}" if last - first > 1 else f"{first}",
            own.restrict(range(first, last)),
        )
        for first, last in itertools.pairwise(ends)
    ]


class TaskScore:
    """A task's scores under interventions; those without any are taken once.

    Args:
        score: Scores the task under an intervention, or under none.
    """

    def __init__(self, score: Callable[[Intervention | None], Scores]) -> None:
        self.score = score

    @cached_property
    def plain(self) -> Scores:
        """The scores without intervention."""
        return self.score(None)


def sweep(
    lm: LanguageModel,
    found: NeuronSet,
    language: str,
    blocks: Blocks,
    values: Mapping[str, tuple[Value | float, Mode]],
    *,
    at: Sequence[str] = (),
    shares: Iterable[float] = (),
    bands: int = 0,
    controls: Mapping[str, int] | None = None,
    stats: Statistics | None = None,
    baseline: MutableMapping[str, PerplexityResult] | None = None,
    seed: int = 0,
    task: TaskScore | None = None,
) -> pd.DataFrame:
    """Sweep the value written over a language's units, then their share and their layers.

    Args:
        lm: A causal model.
        found: Neuron set.
        language: Whose units and text.
        blocks: Held-out text of the language.
        values: Name to value and mode; each is written over the whole set.
        at: Names of the values that are written over every share and band.
        shares: Shares of all units that the set's method takes, each found anew in ``stats``.
        bands: Groups of consecutive layers, each overwritten alone; 0 for none.
        controls: Kind of control to number of draws, as in :func:`perplexity_change`; controls of
            a band are drawn within it.
        stats: Statistics, for shares and matched controls.
        baseline: Untouched perplexity by language, measured once and kept here.
        seed: First seed of the controls.
        task: A task to score beside the perplexity.

    Returns:
        The rows of :func:`perplexity_change` with ``value`` (its name), ``axis``, ``point`` and
        ``share`` (of all units, ``0.26 %``). With a task also ``metric``, ``score`` (%),
        ``score_low``, ``score_high``, ``untouched`` (%), and the paired ``score_change`` to
        untouched (points) with its interval.

    Raises:
        InputError: If a share or band cannot be made, or a value of ``at`` is none of ``values``.
    """
    if (shares or bands) and not at:
        raise InputError("name the value written over shares and bands: at=['zero'].")
    wrong = [name for name in at if name not in values]
    if wrong:
        raise unknown("value", wrong[0], values)
    own = found.select([language])
    points = [(name, Point("value", name, own)) for name in values]
    lines: list[Point] = []
    if shares:
        if stats is None:
            raise InputError("a sweep over shares finds the units anew in statistics: give some.")
        lines += share_points(found, language, shares, stats)
    if bands:
        lines += band_points(found, language, bands)
    points += [(name, point) for name in at for point in lines]
    known: MutableMapping[str, PerplexityResult] = {} if baseline is None else baseline
    changes = perplexity_changes(
        lm, [(point.neurons, *values[name]) for name, point in points], {language: blocks},
        controls=controls, stats=stats, baseline=known, seed=seed,
    )  # fmt: skip
    tables = []
    for (name, point), change in zip(points, changes, strict=True):
        (value, mode), table = values[name], change.table
        if task is not None:
            drawn = control_sets(point.neurons, controls or {}, seed, stats)
            sets = {("own", 0): point.neurons, **drawn}
            rows = []
            for kind, number in zip(table["kind"], table["seed"], strict=True):
                units = sets[kind, number][language]
                done = Intervention(units, value, mode, found.site) if len(units) else None
                rows.append(_scored(task, done))
            table = pd.concat([table, pd.DataFrame(rows)], axis=1)
        tables.append(
            table.assign(value=name, axis=point.axis, point=point.label, share=point.share)
        )
    return pd.concat(tables, ignore_index=True)


def _scored(task: TaskScore, done: Intervention | None) -> dict[str, Any]:
    plain = task.plain
    found = plain if done is None else task.score(done)
    # Accuracy, or F1 where a task has exact match too.
    metric = found.metrics[-1]
    low, high = found.interval(metric)
    change = compare(found, plain, metric=metric)
    return {
        "metric": metric,
        "score": found.value(metric),
        "score_low": low,
        "score_high": high,
        "untouched": plain.value(metric),
        "score_change": change.difference,
        "score_change_low": change.low,
        "score_change_high": change.high,
    }
