"""Which units belong to which language: methods, neuron sets, controls, overlap, stability."""

from langneurons.identification.api import identify
from langneurons.identification.directions import Direction, Directions, find_directions
from langneurons.identification.formats import read_counts, write_counts
from langneurons.identification.language_sets import LANGUAGE_SETS, resolve_languages
from langneurons.identification.method import METHODS, QUOTAS, Found, Method, method
from langneurons.identification.neuron_set import NeuronSet
from langneurons.identification.overlap import overlap
from langneurons.identification.stability import Stability, bootstrap, compare, resample
from langneurons.identification.units import Units

__all__ = [
    "LANGUAGE_SETS",
    "METHODS",
    "QUOTAS",
    "Direction",
    "Directions",
    "Found",
    "Method",
    "NeuronSet",
    "Stability",
    "Units",
    "bootstrap",
    "compare",
    "find_directions",
    "identify",
    "method",
    "overlap",
    "read_counts",
    "resample",
    "resolve_languages",
    "write_counts",
]
