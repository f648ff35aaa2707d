"""What each way of steering does to the model, and the controls that do as much elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from langneurons.evaluation.steering import Applied, as_large, displacement, last_stream
from langneurons.interface.workshop import Workshop
from langneurons.intervention import Intervention, Steering, Value, intervene

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.identification import Direction, NeuronSet, Units
    from langneurons.parts.steering.spec import WaySpec

Control = tuple[str, int, float, Applied]
"""Kind, seed, factor on the strength, and what is done."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a way.

    Attributes:
        layer: Where it acts, for tables.
        strength: How strongly, or the value written.
        applied: Makes the block in which the model is steered.
        controls: Makes its controls: (random, matched, text) to each of them.
    """

    layer: str
    strength: str
    applied: Applied
    controls: Callable[[int, int, Blocks], Iterator[Control]]


def settings(workshop: Workshop, way: WaySpec, language: str, source: str) -> list[Setting]:
    """All settings of a way among which one is chosen, the mildest first."""
    if way.neurons is not None:
        return _of_units(workshop, way, language)
    if way.features is not None:
        return _of_features(workshop, way, language)
    return _of_directions(workshop, way, language, source)


def quarters(count: int) -> list[int]:
    """Layers at a quarter, half and three quarters of the depth."""
    return sorted({count // 4, count // 2, 3 * count // 4})


def _seeds(workshop: Workshop, count: int) -> range:
    return range(workshop.context.seed, workshop.context.seed + count)


def _of_units(workshop: Workshop, way: WaySpec, language: str) -> list[Setting]:
    name = str(way.neurons)
    site = workshop.context.site(name)

    def change(kind: str, seed: int, value: str) -> Applied:
        item = Intervention(
            units=workshop.units(name, language, kind, seed),
            site=workshop.context.at(site),
            **workshop.change(value, language, site),
        )
        return partial(intervene, workshop.lm, [item])

    def controls(value: str, random: int, matched: int, text: Blocks) -> Iterator[Control]:
        for kind, count in (("random", random), ("matched", matched)):
            for seed in _seeds(workshop, count):
                yield kind, seed, 1.0, change(kind, seed, value)

    return [
        Setting("all", value, change("own", 0, value), partial(controls, value))
        for value in way.values
    ]


def _of_features(workshop: Workshop, way: WaySpec, language: str) -> list[Setting]:
    from langneurons.artifacts import read_tensors
    from langneurons.errors import InputError
    from langneurons.features.autoencoder import Autoencoder
    from langneurons.features.intervening import by_layer, features_changed
    from langneurons.identification import NeuronSet
    from langneurons.models.layers import chosen_layers
    from langneurons.statistics import Statistics

    name = str(way.features)
    spec, lm = workshop.context.spec_of("features")[name], workshop.lm
    layers = chosen_layers(spec.layers, lm.layers)
    folder = workshop.out / "feature_languages" / name
    coders = {
        layer: Autoencoder.load(workshop.out / "features" / name / str(layer)) for layer in layers
    }
    own = NeuronSet.load(folder / "features.json")
    if not len(own[language]):
        raise InputError(f"{name!r} has no feature for {language}: raise its share (`top`).")
    stats = Statistics.load(folder / "statistics")
    mean = read_tensors(folder / "means.safetensors")[0][language]

    def change(found: NeuronSet, strength: float) -> Applied:
        what = by_layer(found[language], layers, strength * mean)
        return partial(features_changed, lm, spec.site, coders, what)

    def controls(strength: float, random: int, matched: int, text: Blocks) -> Iterator[Control]:
        for seed in _seeds(workshop, random):
            yield "random", seed, 1.0, change(own.random_like(seed), strength)
        for seed in _seeds(workshop, matched):
            found = own.random_like(seed, matched="rate", statistics=stats)
            yield "matched", seed, 1.0, change(found, strength)

    place = ",".join(map(str, layers))
    return [
        Setting(place, f"{strength:g}", change(own, strength), partial(controls, strength))
        for strength in sorted(way.strengths)
    ]


def _of_directions(workshop: Workshop, way: WaySpec, language: str, source: str) -> list[Setting]:
    from langneurons.identification import Directions
    from langneurons.models.layers import chosen_layers

    lm, name = workshop.lm, str(way.directions)
    path = workshop.out / "directions" / name / "directions.safetensors"
    taken_out = way.how in ("ablate", "project")
    own = Directions.load(path)[source if taken_out else language]
    if way.layers == "all":
        places: list[tuple[int, ...] | None] = [None]
    else:
        tried = quarters(lm.layers) if way.layers is None else way.layers
        places = [(layer,) for layer in chosen_layers(tried, lm.layers)]
    make = _dimensions if way.how == "dimensions" else _along
    return [
        make(workshop, way, own, layers, strength)
        for layers in places
        for strength in sorted(way.strengths)
    ]


def _along(
    workshop: Workshop,
    way: WaySpec,
    own: Direction,
    layers: tuple[int, ...] | None,
    strength: float,
) -> Setting:
    """A direction added, or taken out."""
    how: Any = way.how

    def change(direction: Direction, factor: float = 1.0) -> Applied:
        done = Steering(direction, how, strength * factor, layers)
        return partial(intervene, workshop.lm, [done])

    def controls(random: int, matched: int, text: Blocks) -> Iterator[Control]:
        for seed in _seeds(workshop, random):
            yield "random", seed, 1.0, change(own.random_like(seed))
        if matched and how in ("add", "keep_norm"):
            plain = last_stream(workshop.lm, text)
            wanted = displacement(workshop.lm, text, plain, change(own))
        for seed in _seeds(workshop, matched):
            if how in ("ablate", "project"):
                alike = own.random_like(seed, how, workshop.statistics(own.site))
                yield "matched", seed, 1.0, change(alike)
                continue
            drawn = own.random_like(seed)

            def moves(factor: float, drawn: Direction = drawn) -> float:
                return displacement(workshop.lm, text, plain, change(drawn, factor))

            factor = as_large(moves, wanted, 1.0) if wanted > 0 else 1.0
            yield "matched", seed, factor, change(drawn, factor)

    return Setting(_place(layers), f"{strength:g}", change(own), controls)


def _dimensions(
    workshop: Workshop,
    way: WaySpec,
    own: Direction,
    layers: tuple[int, ...] | None,
    strength: float,
) -> Setting:
    """The largest coordinates of a direction overwritten with the scaled mean of the language."""
    value = Value.of(strength * own.target, f"{strength:g} x mean", own.site)

    def change(units: Units) -> Applied:
        item = Intervention(units, value, site=own.site, layers=layers)
        return partial(intervene, workshop.lm, [item])

    def controls(random: int, matched: int, text: Blocks) -> Iterator[Control]:
        for seed in _seeds(workshop, random):
            # The largest coordinates of a random direction are random coordinates.
            yield "random", seed, 1.0, change(own.random_like(seed).dimensions(way.count))

    return Setting(_place(layers), f"{strength:g}", change(own.dimensions(way.count)), controls)


def _place(layers: tuple[int, ...] | None) -> str:
    return "all" if layers is None else ",".join(map(str, layers))
