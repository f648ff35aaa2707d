"""What the file of a neuron set says of itself, read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langneurons.artifacts import read_json
from langneurons.errors import LangNeuronsError, unknown


@dataclass(frozen=True)
class Glance:
    """The sizes of a neuron set.

    Attributes:
        method: How the units were found.
        site: Where they live.
        shape: (layers, units per layer) of the model.
        units: Language to the number of units in each layer.
        reading: Of units inside experts, which tokens shares are of: "all" or "routed"; else None.
    """

    method: str
    site: str
    shape: tuple[int, int]
    units: dict[str, list[int]]
    reading: str | None = None


def glance(
    path: Path, languages: Sequence[str] = (), shape: tuple[int, int] | None = None
) -> Glance:
    """Look at a neuron set.

    A file of the own format is counted as it stands, which takes no PyTorch; any other, and one
    that is damaged, goes through :meth:`langneurons.NeuronSet.load`, which also says what is wrong.

    Args:
        path: The file.
        languages: Those to look at; of a list that names none, its languages in order.
        shape: Shape of the model, for a list that does not say it.

    Raises:
        InputError: If it is no neuron set, or does not have one of the languages.
    """
    found = _own(path) if path.suffix.lower() == ".json" else None
    if found is not None:
        for lang in languages:
            if lang not in found.units:
                raise unknown("language of the neuron set", lang, found.units)
        return replace(found, units={lang: found.units[lang] for lang in languages or found.units})
    from langneurons.identification import NeuronSet

    neurons = NeuronSet.load(path, languages=list(languages) or None, shape=shape)
    layers = range(neurons.shape[0])
    units = {
        lang: [len(item) for item in held.by_layer(len(layers))] for lang, held in neurons.items()
    }
    reading = _reading(neurons.site, neurons.parameters)
    return Glance(neurons.method, neurons.site, neurons.shape, units, reading)


def _reading(site: str, parameters: Mapping[str, Any]) -> str | None:
    inside = site.startswith("moe.") and site != "moe.router"
    return str(parameters.get("reading", "all")) if inside else None


def _own(path: Path) -> Glance | None:
    """The sizes in a file of the own format whose units all lie within its shape; else None."""
    try:
        value = read_json(path)
        if (value["format"], value["version"]) != ("langneurons.neurons", 1):
            return None
        layers, width = map(int, value["shape"])
        for held in value["units"].values():
            if len(held) > layers or any(not 0 <= unit < width for line in held for unit in line):
                return None
        units = {
            lang: [len(set(line)) for line in held] + [0] * (layers - len(held))
            for lang, held in value["units"].items()
        }
        reading = _reading(value["site"], value.get("parameters") or {})
        return Glance(value["method"], value["site"], (layers, width), units, reading)
    except (LangNeuronsError, KeyError, TypeError, ValueError, AttributeError):
        return None


def shape_said(path: Path) -> tuple[int, int] | None:
    """The shape that a file of the own format says, None where the file is another."""
    found = _own(path) if path.suffix.lower() == ".json" else None
    return None if found is None else found.shape
