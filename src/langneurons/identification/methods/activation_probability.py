"""Activation probability over a percentile, in all its readings."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.identification.evidence import BalancedRows, finite_scores
from langneurons.identification.method import Found, method
from langneurons.identification.selection import check_choice, check_share, take_top
from langneurons.progress import track
from langneurons.statistics import Statistics

Threshold = Literal["own", "pooled", "others", "layer"]
Score = Literal["probability", "absolute_mean"]


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
    check_choice("threshold", threshold, Threshold)
    check_choice("score", score, Score)
    if q != "mean":
        check_share("q", q)
    if batches < 1:
        raise InputError(f"batches must be at least 1, got {batches}.")
    if threshold == "others" and score == "probability" and len(statistics.languages) < 2:
        raise InputError("threshold='others' needs a second language.")
    sample = BalancedRows(statistics)
    rates: dict[str, list[Tensor]] = {language: [] for language in sample.languages}
    halves: list[dict[str, list[Tensor]]] = [
        {language: [] for language in sample.languages} for _ in range(2)
    ]
    parts = {language: sample.halves(language) for language in sample.languages}
    layers = statistics.shape[0]
    with track("activation probability", layers, "layers") as bar:
        for layer in range(layers):
            rows = {
                language: sample.by_document(language, layer).float().numpy()
                for language in sample.languages
            }
            for language, rate in _rates(rows, threshold, q, score, batches).items():
                rates[language].append(rate)
            for half, kept in enumerate(halves if split_half else []):
                part = {language: rows[language][parts[language] == half] for language in rows}
                for language, rate in _rates(part, threshold, q, score, batches).items():
                    kept[language].append(rate)
            bar.advance()
    scores = {
        language: finite_scores(torch.stack(found), language, "activation_probability")
        for language, found in rates.items()
    }
    facts = {}
    if split_half:
        facts = _stability(halves, top, statistics.shape)
    return Found(scores=scores, selected=take_top(scores, top), facts=facts)


_Rows = dict[str, "np.ndarray[tuple[int, int], np.dtype[np.float32]]"]


def _rates(
    rows: _Rows, threshold: Threshold, q: float | Literal["mean"], score: Score, batches: int
) -> dict[str, Tensor]:
    """Score of each unit of one layer, per language; rows are (n, U) in document order.

    NaN where a language has no row (a half of a single document).
    """
    if any(len(item) == 0 for item in rows.values()):
        return {
            language: torch.full((item.shape[1],), torch.nan, dtype=torch.float64)
            for language, item in rows.items()
        }
    if score == "absolute_mean":
        return {
            language: torch.from_numpy(np.abs(item).mean(0, dtype=np.float64))
            for language, item in rows.items()
        }
    limits = {}
    if threshold in ("own", "layer"):
        for language, item in rows.items():
            pieces = np.array_split(item, min(batches, max(len(item), 1)))
            limits[language] = np.mean([_central(piece, q) for piece in pieces], axis=0)
            if threshold == "layer":
                limits[language] = np.full_like(limits[language], np.mean(limits[language]))
    elif threshold == "pooled":
        pooled = _central(np.concatenate(list(rows.values())), q)
        limits = dict.fromkeys(rows, pooled)
    else:
        for language in rows:
            others = [item for name, item in rows.items() if name != language]
            limits[language] = _central(np.concatenate(others), q)
    return {
        language: torch.from_numpy((item > limits[language]).mean(0, dtype=np.float64))
        for language, item in rows.items()
    }


def _central(
    rows: np.ndarray[tuple[int, int], np.dtype[np.float32]], q: float | Literal["mean"]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if q == "mean":
        return np.asarray(rows.mean(0, dtype=np.float64))
    # One unit's values side by side in memory: partitioning columns in place is ten times slower.
    return np.quantile(np.ascontiguousarray(rows.T), q, axis=1).astype(np.float64)


def _stability(
    halves: list[dict[str, list[Tensor]]], top: float, shape: tuple[int, int]
) -> dict[str, object]:
    jaccard = {}
    taken = 1
    for language in halves[0]:
        a, b = (
            next(iter(take_top({language: torch.stack(half[language])}, top).values()))
            for half in halves
        )
        together = int((a | b).sum())
        taken = int(a.sum())
        jaccard[language] = int((a & b).sum()) / together if together else float("nan")
    share = taken / (shape[0] * shape[1])
    return {"split_half_jaccard": jaccard, "chance_jaccard": share / (2 - share)}
