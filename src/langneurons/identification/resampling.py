"""Statistics of rows drawn anew from the row sample: one draw, or many in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.statistics import LanguageStatistics, Statistics
from langneurons.statistics.moments import Moments, stack
from langneurons.statistics.sample import RowSample, RowSource


def draw(documents: Tensor, generator: np.random.Generator) -> Tensor:
    """How often each row is in, when as many documents as there are are drawn with replacement.

    Args:
        documents: int64 (n,), the document of each row.
        generator: Where the draw comes from.

    Returns:
        int64 (n,), the same for all rows of a document.
    """
    _, inverse = torch.unique(documents, return_inverse=True)
    number = int(inverse.max()) + 1 if len(inverse) else 0
    times = np.bincount(generator.integers(number, size=number), minlength=number)
    return torch.from_numpy(times)[inverse]


class _PickedRows:
    """Rows of another source, picked by number when a layer is asked for."""

    def __init__(self, rows: RowSource, index: Tensor) -> None:
        self._rows, self._index = rows, index

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units)."""
        return self._rows.layer(index)[self._index]


def resample(statistics: Statistics, rows: Mapping[str, Tensor]) -> Statistics:
    """Statistics of some of the sampled rows, as if they were the whole text.

    Args:
        statistics: Statistics with a row sample.
        rows: Language to row numbers, int64 (m,), ascending; repeated ones count repeatedly.

    Returns:
        Statistics of the languages in ``rows``; counts, moments and rows agree with each other.

    Raises:
        InputError: If a language would have no row.
    """
    made = {}
    for language, index in rows.items():
        if len(index) == 0:
            raise InputError(f"no token row of language {language!r} is left: collect more rows.")
        statistics.keys(language)  # refuses statistics without rows, in its own words
        sample = statistics[language].sample
        assert sample is not None
        picked = _picked(sample, index)
        layers = [moments_of(picked.rows.layer(layer)) for layer in range(statistics.shape[0])]
        moments = stack(layers)
        made[language] = LanguageStatistics(
            tokens=len(index), count=moments.count, moments=moments, sample=picked
        )
    return Statistics(statistics.site, statistics.shape, statistics.model, made)


def replicated(
    statistics: Statistics, draws: Sequence[Mapping[str, Tensor]], needs: str
) -> Iterator[Statistics]:
    """Statistics of many draws of the sampled rows, in one pass over them.

    Counts and moments are sums over rows weighted by how often each was drawn; only extremes, which
    no weight gives, are NaN.

    Args:
        statistics: Statistics with a row sample.
        draws: Of each replicate, language to how often each row is in, int64 (n,).
        needs: ``"counts"``, ``"moments"`` or ``"rows"``: what is to be there.

    Yields:
        One Statistics a draw, in their order.

    Raises:
        InputError: If there are no rows.
    """
    layers, units = statistics.shape
    for language in statistics.languages:
        statistics.keys(language)  # refuses statistics without rows, in its own words
    each = 8 * layers * units * len(statistics.languages) * (1 if needs == "counts" else 4)
    together = max(1, _REPLICATED_BYTES // each)
    for start in range(0, len(draws), together):
        group = draws[start : start + together]
        sums = {
            name: _weighted(statistics, name, torch.stack([draw[name] for draw in group]), needs)
            for name in statistics.languages
        }
        for number, draw in enumerate(group):
            made = {
                name: _language(statistics[name], draw[name], sums[name][number], needs)
                for name in statistics.languages
            }
            yield Statistics(statistics.site, statistics.shape, statistics.model, made)


_REPLICATED_BYTES = 1 << 29  # of counts and moments of replicates that exist together
_WEIGHTED_AT_ONCE = 1 << 22  # values turned into float64 together


def _weighted(
    statistics: Statistics, language: str, weights: Tensor, needs: str
) -> list[dict[str, Tensor]]:
    """Counts (and moments) of each draw: (L, U) tensors by name; ``weights`` int64 (R, n)."""
    layers, units = statistics.shape
    names = ["count"] if needs == "counts" else ["count", "mean", "squares", "absolute"]
    found = {
        name: torch.empty((len(weights), layers, units), dtype=torch.float64) for name in names
    }
    tokens = weights.sum(1, keepdim=True).double()
    single, double = weights.float(), weights.double()
    step = max(1, _WEIGHTED_AT_ONCE // max(1, weights.shape[1]))
    for layer in range(layers):
        rows = statistics.rows(language, layer)
        for start in range(0, units, step):
            part = slice(start, start + step)
            # Whole numbers below 2^24: exact in float32.
            found["count"][:, layer, part] = (single @ (rows[:, part] > 0).float()).double()
            if needs == "counts":
                continue
            values = rows[:, part].double()
            centre = values.mean(0)
            found["absolute"][:, layer, part] = double @ values.abs()
            values -= centre
            total = double @ values
            found["mean"][:, layer, part] = centre + total / tokens
            square = double @ values.square_()
            found["squares"][:, layer, part] = (square - total.square() / tokens).clamp_min(0)
    return [{name: table[n] for name, table in found.items()} for n in range(len(weights))]


def _language(
    item: LanguageStatistics, times: Tensor, sums: Mapping[str, Tensor], needs: str
) -> LanguageStatistics:
    tokens = int(times.sum())
    count = sums["count"].long()
    moments = sample = None
    if needs != "counts":
        unknown = torch.full_like(sums["mean"], torch.nan)
        moments = Moments(
            tokens, count, sums["mean"], sums["squares"], sums["absolute"], unknown, unknown
        )
    if needs == "rows":
        assert item.sample is not None
        index = torch.repeat_interleave(torch.arange(len(times)), times)
        sample = _picked(item.sample, index)
    return LanguageStatistics(tokens=tokens, count=count, moments=moments, sample=sample)


def _picked(sample: RowSample, index: Tensor) -> RowSample:
    return RowSample(
        limit=None,
        seed=sample.seed,
        keys=sample.keys[index],
        documents=sample.documents[index],
        positions=sample.positions[index],
        token_ids=sample.token_ids[index],
        rows=_PickedRows(sample.rows, index),
    )


def moments_of(rows: Tensor) -> Moments:
    """Moments of all rows (n, U), in float64."""
    values = rows.double()
    mean = values.mean(0)
    return Moments(
        tokens=len(values),
        count=(values > 0).sum(0),
        mean=mean,
        squares=(values - mean).square().sum(0),
        absolute=values.abs().sum(0),
        minimum=values.amin(0),
        maximum=values.amax(0),
    )
