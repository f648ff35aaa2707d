"""What the file of a neuron set says of itself, read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from langneurons.artifacts import read_json
from langneurons.errors import LangNeuronsError


@dataclass(frozen=True)
class Glance:
    """The sizes of a neuron set.

    Attributes:
        method: How the units were found.
        site: Where they live.
        shape: (layers, units per layer) of the model.
        units: Language to the number of units in each layer.
    """

    method: str
    site: str
    shape: tuple[int, int]
    units: dict[str, list[int]]


def glance(path: Path) -> Glance:
    """Look at a neuron set.

    A file of the own format is counted as it stands, which takes no PyTorch; any other, and one
    that is damaged, goes through :meth:`langneurons.NeuronSet.load`, which also says what is wrong.

    Raises:
        InputError: If it is no neuron set.
    """
    found = _own(path) if path.suffix.lower() == ".json" else None
    if found is not None:
        return found
    from langneurons.identification import NeuronSet

    neurons = NeuronSet.load(path)
    layers = range(neurons.shape[0])
    units = {
        lang: [len(item) for item in held.by_layer(len(layers))] for lang, held in neurons.items()
    }
    return Glance(neurons.method, neurons.site, neurons.shape, units)


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
        return Glance(value["method"], value["site"], (layers, width), units)
    except (LangNeuronsError, KeyError, TypeError, ValueError, AttributeError):
        return None
