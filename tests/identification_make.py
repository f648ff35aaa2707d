"""Statistics from token rows written down in a test."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from langneurons.identification.resampling import moments_of
from langneurons.statistics import LanguageStatistics, Statistics
from langneurons.statistics.moments import stack
from langneurons.statistics.sample import MemoryRows, RowSample


def statistics_of(
    rows: Mapping[str, torch.Tensor], documents: Mapping[str, torch.Tensor] | None = None
) -> Statistics:
    """Statistics of rows (L, n, U) per language, all rows kept."""
    made = {}
    for number, (language, tensor) in enumerate(rows.items()):
        n = tensor.shape[1]
        generator = torch.Generator().manual_seed(number)
        keys = torch.randint(0, 1 << 60, (n,), generator=generator).sort().values
        where = documents[language] if documents else torch.arange(n) // 4
        moments = stack([moments_of(layer) for layer in tensor])
        made[language] = LanguageStatistics(
            tokens=n,
            count=moments.count,
            moments=moments,
            sample=RowSample(None, 0, keys, where, torch.arange(n), torch.zeros(n).long(),
                             MemoryRows(tensor)),
        )  # fmt: skip
    first = next(iter(rows.values()))
    return Statistics("mlp.act", (first.shape[0], first.shape[2]), None, made)
