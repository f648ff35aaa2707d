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
from langneurons.identification.units import HIDDEN, Units
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
    taken = (neurons.union() | neurons.apart).by_layer(neurons.shape[0])
    units, gaps = {}, {}
    for language, own in neurons.items():
        # One stream per language: its control stays the same whichever languages stand beside it.
        generator = np.random.default_rng(
            int.from_bytes(bytes.fromhex(digest(seed, matched, language))[:8], "little")
        )
        rates = (
            None
            if statistics is None or matched is None
            else statistics.prob_positive(language).numpy()
        )
        drawn, gap = [], []
        for layer, indices in enumerate(own.by_layer(neurons.shape[0])):
            wanted = indices.numpy()
            # What other languages' experts lack is load; all but the language's own may be drawn.
            others = wanted if matched == "load" else taken[layer].numpy()
            pool = _pool(neurons.shape[1], wanted, others, language, layer)
            if rates is None:
                picked = generator.choice(pool, size=len(wanted), replace=False)
            else:
                near = MATCHED[str(matched)]
                picked = _nearest(rates[layer], wanted, pool, generator, near)
                gap.append(np.abs(rates[layer][wanted] - rates[layer][picked]))
            drawn.append(torch.from_numpy(np.asarray(picked, dtype=np.int64)))
        units[language] = Units.from_layers(drawn)
        if rates is not None:
            every = np.concatenate(gap)
            gaps[language] = float(every.mean()) if len(every) else 0.0
    parameters = {"like": neurons.method, "seed": seed, "matched": matched}
    if matched:
        parameters[f"mean_{matched}_difference"] = gaps
    return type(neurons)(
        units,
        neurons.shape,
        site=neurons.site,
        method="random" if matched is None else _NAMES[matched],
        parameters=parameters,
        model=neurons.model,
        statistics=neurons.statistics,
    )


def _check(neurons: UnitSets, statistics: Statistics | None, matched: str) -> None:
    if statistics is None:
        raise InputError(f"matched={matched!r} needs the statistics: give statistics=...")
    if tuple(statistics.shape) != neurons.shape:
        raise InputError(
            f"the statistics have shape {tuple(statistics.shape)}, the neurons {neurons.shape}: "
            "take the statistics of the same model and site."
        )
    sites = {statistics.site, neurons.site}
    if not same_model(neurons.model, statistics.model) or not (len(sites) == 1 or sites <= HIDDEN):
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


def _nearest(
    rates: _Floats,
    wanted: _Array,
    pool: _Array,
    generator: np.random.Generator,
    neighbours: int,
) -> _Array:
    """For each wanted unit one of the free units of nearest rate, without replacement.

    Free units stand in order of their rate; the window around a unit's rate is doubled until it
    holds enough free ones.
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
            if len(near) >= neighbours or (low == 0 and high == size):
                break
            reach *= 2
        near = near[np.argsort(np.abs(sorted_rates[near] - rate), kind="stable")][:neighbours]
        chosen = int(generator.choice(near))
        free[chosen] = False
        picked[position] = pool[chosen]
    return picked
