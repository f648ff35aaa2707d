"""Which other units are active on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.statistics import Statistics

ROWS = 512
"""Most sampled tokens of a language that correlations are taken over."""

COLUMNS = ["layer", "index", "rank", "other_layer", "other_index", "correlation"]


def neighbours(
    statistics: Statistics, chosen: Sequence[np.ndarray], most: int, rows: int = ROWS
) -> pd.DataFrame:
    """Units most correlated with each chosen one, of all units of all layers.

    Pearson's correlation over sampled tokens, with each language's mean taken out of its tokens:
    otherwise all units of a language would be each other's neighbours.

    Args:
        statistics: Statistics with token rows.
        chosen: Per layer, indices of the units looked at, int64.
        most: Neighbours a unit; the largest in absolute value.
        rows: Most sampled tokens of a language.

    Returns:
        Columns layer, index, rank (from 1), other_layer, other_index, correlation (signed).
    """
    units = [(layer, int(index)) for layer, part in enumerate(chosen) for index in part]
    if not units or most < 1:
        return pd.DataFrame(columns=COLUMNS)
    with track("neighbours", 2 * len(chosen), "layers") as bar:
        parts = []
        for layer, index in enumerate(chosen):
            if len(index):
                parts.append(_standard(statistics, layer, rows)[:, torch.from_numpy(index)])
            bar.advance()
        mine = torch.cat(parts, dim=1)
        best = torch.zeros((len(units), 0))
        where = torch.zeros((len(units), 0), dtype=torch.int64)
        width = statistics.shape[1]
        at = {unit: place for place, unit in enumerate(units)}
        for layer, index in enumerate(chosen):
            found = mine.T @ _standard(statistics, layer, rows)
            for unit in index.tolist():
                found[at[layer, unit], unit] = 0.0
            kept = found.abs().topk(min(most, width), dim=1).indices
            best = torch.cat([best, found.gather(1, kept)], dim=1)
            where = torch.cat([where, layer * width + kept], dim=1)
            order = best.abs().argsort(dim=1, descending=True, stable=True)[:, :most]
            best, where = best.gather(1, order), where.gather(1, order)
            bar.advance()
    made = [
        (*unit, rank + 1, flat // width, flat % width, value)
        for unit, flats, values in zip(units, where.tolist(), best.tolist(), strict=True)
        for rank, (flat, value) in enumerate(zip(flats, values, strict=True))
        if value != 0.0
    ]
    return pd.DataFrame(made, columns=COLUMNS)


def _standard(statistics: Statistics, layer: int, rows: int) -> Tensor:
    """Activations of one layer on the sampled tokens of all languages: float32 (tokens, units).

    Columns have length one (zero where a unit never changes) and mean zero in every language.
    """
    parts = []
    for lang in statistics.languages:
        part = statistics.rows(lang, layer)[:rows].float()
        parts.append(part - part.mean(dim=0) if len(part) else part)
    whole = torch.cat(parts)
    length = whole.norm(dim=0)
    return torch.where(length > 1e-12, whole / length.clamp_min(1e-12), torch.zeros(()))
