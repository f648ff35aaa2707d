"""How languages are routed through a mixture of experts, layer by layer.

Pure functions on statistics of ``moe.router`` (a unit is an expert; its value is the routing
weight, 0 where the expert is not chosen), also on published counts.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langneurons.errors import unknown

if TYPE_CHECKING:
    from langneurons.statistics import Statistics


def routing_shares(statistics: Statistics, *, weighted: bool = False) -> dict[str, Tensor]:
    """How each language spreads over the experts of a layer.

    Args:
        statistics: Statistics of ``moe.router``.
        weighted: By the sum of routing weights instead of the number of tokens routed.

    Returns:
        Language to float64 (L, E), non-negative, each layer summing to 1; NaN in layers without
        a router.

    Raises:
        InputError: With ``weighted``, if the statistics hold counts only.
    """
    shares = {}
    for lang in statistics.languages:
        load = statistics.mean(lang) if weighted else statistics.prob_positive(lang)
        shares[lang] = load / load.sum(1, keepdim=True)
    return shares


def usage_entropy(statistics: Statistics, *, weighted: bool = False) -> dict[str, Tensor]:
    """Entropy of the shares of the experts over ln E: 1 where all are used alike, 0 where one is.

    The measure of arXiv 2605.17598, where it falls in deep layers for some languages.

    Args:
        statistics: Statistics of ``moe.router``.
        weighted: See :func:`routing_shares`.

    Returns:
        Language to float64 (L,), NaN in layers without a router.

    Raises:
        InputError: With ``weighted``, if the statistics hold counts only.
    """
    shares = routing_shares(statistics, weighted=weighted)
    return {lang: _entropy(share) / math.log(share.shape[1]) for lang, share in shares.items()}


def routing_divergence(
    statistics: Statistics, pivot: str = "en", *, weighted: bool = False
) -> dict[str, Tensor]:
    """How differently each language is routed than a pivot language, layer by layer.

    With shares p and q of the experts and m = (p + q) / 2, the Jensen-Shannon divergence over the
    entropy of m:

        D = (H(m) - (H(p) + H(q)) / 2) / H(m).

    It is the share of the experts' entropy that the language explains: 0 where both languages use
    every expert alike; layers of different spread can be compared. It depends on the load of the
    experts alone, not on which tokens go where.

    Source: after arXiv 2510.04694, whose abstract says "normalised by entropy" and not by which;
    the entropy of the mixture bounds D to 0 .. ln 2 / H(m).

    Args:
        statistics: Statistics of ``moe.router``.
        pivot: Language to compare with.
        weighted: See :func:`routing_shares`.

    Returns:
        Language (without the pivot) to float64 (L,), NaN in layers without a router; 0 where both
        use one and the same expert.

    Raises:
        InputError: If there is no such language; with ``weighted``, if the statistics hold counts
            only.
    """
    if pivot not in statistics.languages:
        raise unknown("language", pivot, statistics.languages)
    shares = routing_shares(statistics, weighted=weighted)
    q = shares[pivot]
    result = {}
    for lang, p in shares.items():
        if lang == pivot:
            continue
        whole = _entropy((p + q) / 2)
        apart = (whole - (_entropy(p) + _entropy(q)) / 2).clamp_min(0)
        result[lang] = torch.where(whole == 0, torch.zeros_like(whole), apart / whole)
    return result


def _entropy(shares: Tensor) -> Tensor:
    """Entropy (nats) of each row, float64 (L,)."""
    surprise: Tensor = torch.special.xlogy(shares, shares)
    return -surprise.sum(1)


def warn_of_uneven_load(statistics: Statistics) -> None:
    """Warn where the experts of a layer got more or fewer tokens than every layer's top k.

    A router sends each token to k experts, so its counts sum to k times the tokens in every layer.
    Published counts miss that by a little: Qwen3-30B-A3B's by up to 2 in 1000.
    """
    worst, told = 1e-9, ""
    for lang in statistics.languages:
        sums = statistics.prob_positive(lang).sum(1)
        routed = sums[sums > 0]
        if not len(routed):
            continue
        k = max(1.0, float(routed.median().round()))
        off = (sums / k - 1).abs() * (sums > 0)
        if float(off.max()) > worst:
            layer = int(off.argmax())
            worst = float(off.max())
            told = (
                f"{lang!r} in layer {layer} sum to {float(sums[layer]):.4f} experts a token, where "
                f"each token goes to {k:g}"
            )
    if told:
        warnings.warn(
            f"counts of {told} (the largest of such differences): they are used as they are.",
            stacklevel=3,
        )
