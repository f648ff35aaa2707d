"""Activation probability over a percentile, in all its readings."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.identification.codes import (
    Codes,
    decode,
    encode,
    floor_code,
    has_nan,
    quantile,
)
from langneurons.identification.evidence import BalancedRows, finite_scores
from langneurons.identification.method import Found, method
from langneurons.identification.parallel import over_slices
from langneurons.identification.selection import check_integer, check_share, take_top
from langneurons.progress import track
from langneurons.statistics import Statistics

Threshold = Literal["own", "pooled", "others", "layer"]
Score = Literal["probability", "absolute_mean"]

_CODED_AT_ONCE = 1 << 20  # values; 2 MB of 16-bit codes and as much again while partitioning


@method("activation_probability", needs="rows", least=1)
def activation_probability(
    statistics: Statistics,
    *,
    threshold: Threshold = "pooled",
    q: float | Literal["mean"] = 0.9,
    top: float = 0.00125,
    score: Score = "probability",
    batches: int = 1,
    split_half: bool = True,
) -> Found:
    """Units that most often exceed a percentile of their activation, for each language by itself.

    score_k(u) = share of language k's tokens with a(u) > t_k(u), and the ``top`` share of all
    units is taken for each language. Readings of the threshold t_k(u), with "P" the ``q`` quantile
    (0.75, 0.9, 0.95, ...) or, for ``q="mean"``, the mean:

    - ``"own"``: P of unit u in language k itself. **Degenerate**: the score is 1 - q for every
      unit by construction, up to ties, and the ranking is noise. The code of arXiv 2503.17456
      averages P over batches; the score then measures how little stationary a unit is. Set
      ``batches`` to repeat that.
    - ``"pooled"``: P of unit u over all languages, each with the same number of tokens.
    - ``"others"``: P of unit u over the other languages.
    - ``"layer"``: the mean over the units of the layer of their own P in language k.

    ``score="absolute_mean"`` ranks by the mean of abs(a) in language k instead and uses no
    threshold.

    To show whether a ranking is more than noise, the tokens are split in two halves by document
    and the Jaccard index of the two selections is reported per language in
    ``facts["split_half_jaccard"]``; two random selections would have ``facts["chance_jaccard"]``.

    Source: arXiv 2503.17456 ("Activation Probability 90p", top 0.00125).

    Complexity: O(L U K n) time for n rows a language; memory for one layer's rows.

    Args:
        statistics: Statistics with a row sample.
        threshold: Which threshold.
        q: Quantile, or ``"mean"``.
        top: Share (float) or number (int) of all units to take for each language.
        score: ``"probability"`` or ``"absolute_mean"``.
        batches: The own or layer threshold is the mean of P over this many batches of consecutive
            documents; 1 is the plain quantile of all rows.
        split_half: Measure the stability of the selection.

    Raises:
        InputError: If a choice is not known, there are no rows, or another language is needed.
    """
    if q != "mean":
        check_share("q", q)
    check_integer("batches", batches, 1)
    if threshold == "others" and score == "probability" and len(statistics.languages) < 2:
        raise InputError("threshold='others' needs a second language.")
    sample = BalancedRows(statistics)
    names = sample.languages
    masks = {language: sample.halves(language) for language in names}
    layers, units = statistics.shape
    # Whole rows, then the rows of either half: (K, L, U) each.
    tables = [
        torch.full((len(names), layers, units), torch.nan, dtype=torch.float64)
        for _ in range(3 if split_half else 1)
    ]
    step = max(1, _CODED_AT_ONCE // (sample.size * len(names)))
    with track("activation probability", layers * units, "units") as bar:
        for layer in range(layers):
            rows = {language: sample.by_document(language, layer) for language in names}
            heights: list[_Limits] = [None] * len(tables)
            if threshold == "layer" and score == "probability":
                heights = _layer_limits(rows, masks, q, batches, units, step, len(tables))

            def rated(
                part: slice, rows: dict[str, Tensor] = rows, heights: list[_Limits] = heights
            ) -> list[Tensor]:
                pieces = _pieces(rows, masks, part, len(heights))
                return [
                    _rates(piece, threshold, q, score, batches, height)
                    for piece, height in zip(pieces, heights, strict=True)
                ]

            for part, found in over_slices(rated, units, step):
                for table, rates in zip(tables, found, strict=True):
                    table[:, layer, part] = rates
                bar.advance(found[0].shape[1])
    whole, *halves = (dict(zip(names, table, strict=True)) for table in tables)
    scores = {
        language: finite_scores(found, language, "activation_probability")
        for language, found in whole.items()
    }
    facts = _stability(halves, top, statistics.shape) if split_half else {}
    return Found(scores=scores, selected=take_top(scores, top), facts=facts)


_Coded = dict[str, Codes]
_Limits = dict[str, float] | None


def _pieces(
    rows: dict[str, Tensor], masks: dict[str, npt.NDArray[np.int64]], part: slice, number: int
) -> list[tuple[_Coded, torch.dtype]]:
    """Codes (U, n) of some units: of all rows and, for a ``number`` of 3, of either half."""
    coded, dtype = {}, torch.float32
    for language, item in rows.items():
        coded[language], dtype = encode(item[:, part])
    made = [(coded, dtype)]
    for half in range(number - 1):
        chosen = {name: np.compress(masks[name] == half, item, 1) for name, item in coded.items()}
        made.append((chosen, dtype))
    return made


def _layer_limits(
    rows: dict[str, Tensor],
    masks: dict[str, npt.NDArray[np.int64]],
    q: float | Literal["mean"],
    batches: int,
    units: int,
    step: int,
    number: int,
) -> list[_Limits]:
    """The mean over a layer's units of their own percentile, per language and piece of rows."""

    def own(part: slice) -> list[dict[str, npt.NDArray[np.float64]]]:
        return [
            {
                name: _in_batches(item, q, batches, dtype) if item.size else np.array([np.nan])
                for name, item in coded.items()
            }
            for coded, dtype in _pieces(rows, masks, part, number)
        ]

    found = [limits for _, limits in over_slices(own, units, step)]

    def mean(piece: int, name: str) -> float:
        limits = np.concatenate([item[piece][name] for item in found])
        return float(limits[~np.isnan(limits)].mean()) if not np.isnan(limits).all() else np.nan

    return [{name: mean(piece, name) for name in rows} for piece in range(number)]


def _rates(
    piece: tuple[_Coded, torch.dtype],
    threshold: Threshold,
    q: float | Literal["mean"],
    score: Score,
    batches: int,
    heights: _Limits,
) -> Tensor:
    """Score of some units of one layer, (K, U); codes are (U, n) in document order.

    NaN where a unit has NaN, and where a language has no row (a half of a single document).
    """
    coded, dtype = piece
    items = list(coded.values())
    found = np.full((len(items), len(items[0])), np.nan)
    if any(item.shape[1] == 0 for item in items):
        return torch.from_numpy(found)
    if score == "absolute_mean":
        for k, item in enumerate(items):
            found[k] = np.abs(decode(item, dtype)).mean(1)
        return torch.from_numpy(found)
    pooled = _central(np.concatenate(items, axis=1), q, dtype) if threshold == "pooled" else None
    for k, (language, item) in enumerate(coded.items()):
        if pooled is not None:
            limit = pooled
        elif threshold == "others":
            limit = _central(np.concatenate(items[:k] + items[k + 1 :], axis=1), q, dtype)
        elif heights is not None:
            limit = np.full(len(item), heights[language])
        else:
            limit = _in_batches(item, q, batches, dtype)
        above = item > floor_code(limit, dtype)[:, None]
        found[k] = np.count_nonzero(above, axis=1) / item.shape[1]
    found[:, np.any([has_nan(item, dtype) for item in items], axis=0)] = np.nan
    return torch.from_numpy(found)


def _in_batches(
    item: Codes, q: float | Literal["mean"], batches: int, dtype: torch.dtype
) -> npt.NDArray[np.float64]:
    """Percentile of each unit, averaged over batches of consecutive rows."""
    pieces = np.array_split(item, min(batches, item.shape[1]), axis=1)
    limit = np.mean([_central(piece, q, dtype) for piece in pieces], axis=0)
    return np.where(has_nan(item, dtype), np.nan, limit)


def _central(
    codes: Codes, q: float | Literal["mean"], dtype: torch.dtype
) -> npt.NDArray[np.float64]:
    if q == "mean":
        return np.asarray(decode(codes, dtype).mean(1))
    return quantile(codes, q, dtype)


def _stability(
    halves: list[dict[str, Tensor]], top: float, shape: tuple[int, int]
) -> dict[str, object]:
    jaccard = {}
    taken = 1
    for language in halves[0]:
        a, b = (next(iter(take_top({language: half[language]}, top).values())) for half in halves)
        together = int((a | b).sum())
        taken = int(a.sum())
        jaccard[language] = int((a & b).sum()) / together if together else float("nan")
    share = taken / (shape[0] * shape[1])
    return {"split_half_jaccard": jaccard, "chance_jaccard": share / (2 - share)}
