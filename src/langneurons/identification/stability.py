"""How sure a selection is: bootstrap over documents, and comparison of sets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.identification.api import identify
from langneurons.identification.language_sets import resolve_languages
from langneurons.identification.method import METHODS
from langneurons.identification.neuron_set import NeuronSet
from langneurons.identification.overlap import overlap
from langneurons.identification.resampling import draw, replicated
from langneurons.identification.resampling import resample as resample
from langneurons.identification.units import Units
from langneurons.progress import track
from langneurons.statistics import Statistics
from langneurons.statistics.options import check_integer


@dataclass(frozen=True)
class Stability:
    """Selection frequencies of a bootstrap.

    Attributes:
        neurons: The selection on the whole sample.
        frequency: Language to float64 (L, U): share of replicates in which the unit was taken.
        jaccard: Language to the mean Jaccard index of a replicate's selection with ``neurons``'.
        replicates: Number of replicates.
    """

    neurons: NeuronSet
    frequency: dict[str, Tensor]
    jaccard: dict[str, float]
    replicates: int

    def stable(self, least: float = 0.8) -> NeuronSet:
        """The selected units that came up in at least this share of the replicates."""
        shaky = {
            language: units - Units.from_mask(self.frequency[language] >= least)
            for language, units in self.neurons.items()
        }
        return self.neurons.without(shaky, {"least_frequency": least})

    def table(self) -> pd.DataFrame:
        """Units selected on the whole sample: columns language, layer, index, frequency."""
        table = self.neurons.table()[["language", "layer", "index"]]
        values = [
            self.frequency[language][units.layers, units.indices].numpy()
            for language, units in self.neurons.items()
        ]
        return table.assign(frequency=np.concatenate(values))


def bootstrap(
    statistics: Statistics,
    method: str = "lape",
    languages: str | Sequence[str] | None = None,
    *,
    replicates: int = 50,
    seed: int = 0,
    **options: Any,
) -> Stability:
    """How often each unit is selected when the documents are drawn anew.

    Documents, the independent pieces of a text, are drawn with replacement from those in the row
    sample; counts, means and rows are those of the drawn documents' rows. The frequencies describe
    a selection from the row sample, which is usually smaller than the whole text. The rows are read
    once for the counts and means of all replicates, as sums weighted by how often each was drawn.

    Args:
        statistics: Statistics with a row sample.
        method: Any method that reads statistics.
        languages: As in :func:`identify`.
        replicates: Number of draws.
        seed: Seed of the draws.
        options: Parameters of the method, and quotas.

    Raises:
        InputError: If the method reads no statistics, or there are no rows.
    """
    if METHODS.get(method).needs == "model":
        raise InputError(f"method {method!r} reads texts, not statistics: it cannot be resampled.")
    check_integer("replicates", replicates, 1)
    check_integer("seed", seed, 0)
    chosen = statistics.select(resolve_languages(languages, statistics.languages))
    if method == "activation_probability":
        options.setdefault("split_half", False)
    needs = METHODS.get(method).needs
    generator = np.random.default_rng(seed)
    everything = {language: torch.ones(len(chosen.keys(language)), dtype=torch.int64)
                  for language in chosen.languages}  # fmt: skip
    drawn = [
        {name: draw(chosen.row_documents(name), generator) for name in chosen.languages}
        for _ in range(replicates)
    ]
    made = replicated(chosen, [everything, *drawn], needs)
    neurons = identify(next(made), method, **options)
    frequency = {
        language: torch.zeros(chosen.shape, dtype=torch.float64) for language in chosen.languages
    }
    jaccard = dict.fromkeys(chosen.languages, 0.0)
    with track(f"bootstrap {method}", replicates, "replicates") as bar:
        for statistics_drawn in made:
            with warnings.catch_warnings():
                # The same warning for every replicate says nothing new.
                warnings.simplefilter("ignore", UserWarning)
                found = identify(statistics_drawn, method, **options)
            for language, units in found.items():
                frequency[language][units.layers, units.indices] += 1 / replicates
                together = len(units | neurons[language])
                same = len(units & neurons[language]) / together if together else 1.0
                jaccard[language] += same / replicates
            bar.advance()
    return Stability(neurons, frequency, jaccard, replicates)


def compare(sets: Mapping[str, NeuronSet], *, pooled: bool = False) -> pd.DataFrame:
    """Overlap, language by language, of every pair of sets (methods, seeds, texts, models).

    Args:
        sets: Name to set; all of equally shaped models and one site.
        pooled: Instead of a row a language, one for all languages that both sets hold: a unit
            counts once for each language it belongs to, and is shared where both sets give it to
            the same language.

    Returns:
        One row per pair of sets and language that both hold: columns set, other_set, language
        (``"all"`` where pooled), then those of
        :func:`langneurons.identification.overlap.overlap`.

    Raises:
        InputError: If there are fewer than two sets, the shapes or sites differ, or two sets have
            no language in common.
    """
    names = list(sets)
    if len(names) < 2:
        raise InputError("a comparison needs at least two neuron sets.")
    parts = []
    for position, name in enumerate(names):
        for other in names[position + 1 :]:
            first, second = sets[name], sets[other]
            common = [language for language in first if language in second]
            if not common:
                raise InputError(
                    f"{name} ({', '.join(first)}) and {other} ({', '.join(second)}) have no "
                    "language in common: compare sets that share one."
                )
            table = first.overlap(second)
            if pooled:
                shape = (first.shape[0] * len(common), first.shape[1])
                shared = overlap(_stacked(first, common), _stacked(second, common), shape)
                same = pd.DataFrame([{"language": "all", **shared}])
            else:
                same = table[table["language"] == table["other"]].drop(columns="other")
            same.insert(0, "other_set", other)
            same.insert(0, "set", name)
            parts.append(same)
    return pd.concat(parts, ignore_index=True)


def _stacked(neurons: NeuronSet, languages: Sequence[str]) -> Units:
    """Units of several languages as those of one model with so many times the layers."""
    layers = neurons.shape[0]
    return Units(
        torch.cat([neurons[name].layers + k * layers for k, name in enumerate(languages)]),
        torch.cat([neurons[name].indices for name in languages]),
    )
