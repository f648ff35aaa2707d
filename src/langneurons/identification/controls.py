"""Random controls: units of the same number and place, plain, of the same activity or load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from langneurons.artifacts import digest
from langneurons.errors import InputError, unknown
from langneurons.identification.unit_sets import UnitSets
from langneurons.identification.units import Units, same_coordinates
from langneurons.models.fingerprint import same_model

if TYPE_CHECKING:
    from langneurons.statistics import Statistics

Sets = TypeVar("Sets", bound=UnitSets)

NEIGHBOURS = 10
"""Among how many free units of the nearest rate a rate-matched control is drawn."""

NEAR_LOADS = 3
"""Among how many free experts of the nearest load a load-matched control is drawn: a layer has far
fewer experts than units, and ten of them may be all."""

MATCHED = {"rate": NEIGHBOURS, "load": NEAR_LOADS}
"""Kinds of matching, and among how many of the nearest units each draws."""

_NAMES = {"rate": "random_matched", "load": "random_load"}
_Array = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


def random_like(
    neurons: Sets,
    seed: int,
    *,
    matched: str | None = None,
    statistics: Statistics | None = None,
) -> Sets:
    """See :meth:`NeuronSet.random_like`."""
    if matched is not None and matched not in MATCHED:
        raise unknown("kind of matching", matched, MATCHED)
    if matched == "load" and neurons.site != "moe.router":
        raise InputError(
            f"matched='load' is for experts (site 'moe.router'), not for units of "
            f"{neurons.site!r}: use matched='rate'."
        )
    if matched is not None:
        _check(neurons, statistics, matched)
    routed = matched == "rate" and statistics is not None and _in_experts(statistics)
    taken = (neurons.union() | neurons.apart).by_layer(neurons.shape[0])
    units: dict[str, Units] = {}
    gaps: dict[str, list[float]] = {}
    for language, own in neurons.items():
        # One stream per language: its control stays the same whichever languages stand beside it.
        generator = np.random.default_rng(
            int.from_bytes(bytes.fromhex(digest(seed, matched, language))[:8], "little")
        )
        measures = [] if matched is None else _measures(statistics, language)
        drawn: list[torch.Tensor] = []
        gap: list[list[_Floats]] = [[] for _ in measures]
        for layer, indices in enumerate(own.by_layer(neurons.shape[0])):
            wanted = indices.numpy()
            # What other languages' experts lack is load; all but the language's own may be drawn.
            others = wanted if matched == "load" else taken[layer].numpy()
            pool = _pool(neurons.shape[1], wanted, others, language, layer)
            if not measures:
                picked = generator.choice(pool, size=len(wanted), replace=False)
            elif len(measures) == 1:
                near = MATCHED[str(matched)]
                picked = _nearest(measures[0][layer], wanted, pool, generator, near)
            else:
                picked = _nearest_in_both([m[layer] for m in measures], wanted, pool, generator)
            for found, measure in zip(gap, measures, strict=True):
                found.append(np.abs(measure[layer][wanted] - measure[layer][picked]))
            drawn.append(torch.from_numpy(np.asarray(picked, dtype=np.int64)))
        units[language] = Units.from_layers(drawn)
        gaps[language] = [_mean(found) for found in gap]
    parameters: dict[str, Any] = {"like": neurons.method, "seed": seed, "matched": matched}
    if matched:
        names = ("load", "rate") if routed else (str(matched),)
        for number, name in enumerate(names):
            parameters[f"mean_{name}_difference"] = {k: each[number] for k, each in gaps.items()}
    return type(neurons)(
        units,
        neurons.shape,
        site=neurons.site,
        method="random" if matched is None else _NAMES[matched],
        parameters=parameters,
        model=neurons.model,
        statistics=neurons.statistics,
    )


def _in_experts(statistics: Statistics) -> bool:
    return all(item.routing is not None for item in statistics.by_language.values())


def _measures(statistics: Statistics | None, language: str) -> list[_Floats]:
    """What a control is to share with each unit, (L, U) each.

    The share of tokens it is active on; of a unit inside an expert the share of tokens routed to
    the expert (its load), and the share of these on which it is active.
    """
    assert statistics is not None
    item = statistics[language]
    if item.routing is None:
        return [statistics.prob_positive(language).numpy()]
    routed = item.routing.by_unit()
    return [(routed / item.tokens).numpy(), (item.count / routed.clamp_min(1)).numpy()]


def _mean(parts: list[_Floats]) -> float:
    every = np.concatenate(parts)
    return float(every.mean()) if len(every) else 0.0


def _check(neurons: UnitSets, statistics: Statistics | None, matched: str) -> None:
    if statistics is None:
        raise InputError(f"matched={matched!r} needs the statistics: give statistics=...")
    if tuple(statistics.shape) != neurons.shape:
        raise InputError(
            f"the statistics have shape {tuple(statistics.shape)}, the neurons {neurons.shape}: "
            "take the statistics of the same model and site."
        )
    sites = {statistics.site, neurons.site}
    if not same_model(neurons.model, statistics.model) or not same_coordinates(sites):
        raise InputError(
            f"the statistics are of {statistics.site!r} of {_model(statistics.model)}, the neurons "
            f"of {neurons.site!r} of {_model(neurons.model)}: take the statistics of the same "
            "model and site."
        )
    missing = [name for name in neurons if name not in statistics.languages]
    if missing:
        raise InputError(
            f"no statistics for language {', '.join(missing)}: matched={matched!r} needs its rates."
        )


def _model(fingerprint: Mapping[str, Any] | None) -> str:
    return repr((fingerprint or {}).get("name", "a model"))


def _pool(width: int, own: _Array, taken: _Array, language: str, layer: int) -> _Array:
    """Units of a layer outside the set: outside every language if enough are left, else its own."""
    everyone = np.arange(width)
    pool = np.setdiff1d(everyone, taken, assume_unique=True)
    if len(pool) < len(own):
        pool = np.setdiff1d(everyone, own, assume_unique=True)
    if len(pool) < len(own):
        raise InputError(
            f"language {language!r} has {len(own)} of {width} units in layer {layer}: too few "
            "others are left for a control of the same size; use a smaller set."
        )
    return pool


def _nearest_in_both(
    measures: list[_Floats], wanted: _Array, pool: _Array, generator: np.random.Generator
) -> _Array:
    """For each wanted unit one of the NEIGHBOURS free units nearest in two measures at once.

    The distance is the larger of both differences in rank among all units of the layer, so that
    neither measure's scale matters; equal numbers have one rank.
    """
    ranks = [np.unique(each, return_inverse=True)[1] / len(np.unique(each)) for each in measures]
    free = np.ones(len(pool), dtype=bool)
    picked = np.empty(len(wanted), dtype=np.int64)
    for position in generator.permutation(len(wanted)):
        left = np.flatnonzero(free)
        gaps = [np.abs(rank[pool[left]] - rank[wanted[position]]) for rank in ranks]
        near = np.argsort(np.maximum(*gaps), kind="stable")[:NEIGHBOURS]
        chosen = int(left[generator.choice(near)])
        free[chosen] = False
        picked[position] = pool[chosen]
    return picked


def _nearest(
    rates: _Floats,
    wanted: _Array,
    pool: _Array,
    generator: np.random.Generator,
    neighbours: int,
) -> _Array:
    """For each wanted unit one of the free units of nearest rate, without replacement.

    Free units stand in order of their rate; the window around a unit's rate is doubled until it
    holds enough free ones on either side, so that the nearest are in it whichever were taken.
    """
    pool = pool[np.argsort(rates[pool], kind="stable")]
    sorted_rates = rates[pool]
    size = len(pool)
    free = np.ones(size, dtype=bool)
    picked = np.empty(len(wanted), dtype=np.int64)
    for position in generator.permutation(len(wanted)):
        rate = rates[wanted[position]]
        start = int(np.searchsorted(sorted_rates, rate))
        reach = neighbours
        while True:
            low, high = max(start - reach, 0), min(start + reach, size)
            near = low + np.flatnonzero(free[low:high])
            below = int(np.searchsorted(near, start))
            enough_below = low == 0 or below >= neighbours
            if enough_below and (high == size or len(near) - below >= neighbours):
                break
            reach *= 2
        near = near[np.argsort(np.abs(sorted_rates[near] - rate), kind="stable")][:neighbours]
        chosen = int(generator.choice(near))
        free[chosen] = False
        picked[position] = pool[chosen]
    return picked
