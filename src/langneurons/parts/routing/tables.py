"""Tables of routing: how far each language's is from the pivot's, and every expert's load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from langneurons.interface.results import Results

if TYPE_CHECKING:
    from langneurons.statistics import Statistics

SITE = "moe.router"
PIVOT = "en"


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Both tables where the statistics of experts stand in every language; else none."""
    from langneurons.statistics import Statistics

    context = results.context
    if not all(results.stands(name) for name in context.statistics_of(SITE)):
        return {}
    folder = results.out / "statistics"
    if context.spec_of("statistics").site != SITE:
        folder /= SITE
    stats = Statistics.load(folder, languages=context.languages)
    pivot = PIVOT if PIVOT in context.languages else context.languages[0]
    return {"routing": divergences(stats, pivot), "expert_load": loads(stats)}


def loads(stats: Statistics) -> pd.DataFrame:
    """The load of every expert.

    Args:
        stats: Statistics of ``moe.router``.

    Returns:
        One row a language, layer that routes, and expert: ``language``, ``layer``, ``expert``,
        ``load`` (share of the language's tokens that are routed to it), ``share`` (load over the
        sum of the layer's loads).
    """
    from langneurons.identification.routing import routing_shares

    shares = routing_shares(stats)
    rows = []
    for lang in stats.languages:
        load = stats.prob_positive(lang)
        for layer in range(load.shape[0]):
            for expert in range(load.shape[1]) if load[layer].sum() > 0 else ():
                rows.append(
                    {
                        "language": lang,
                        "layer": layer,
                        "expert": expert,
                        "load": float(load[layer, expert]),
                        "share": float(shares[lang][layer, expert]),
                    }
                )
    return pd.DataFrame(rows)


def divergences(stats: Statistics, pivot: str) -> pd.DataFrame:
    """How differently each language is routed than the pivot, beside the pivot against itself.

    Args:
        stats: Statistics of ``moe.router``.
        pivot: Language to compare with.

    Returns:
        One row a language and layer that routes: ``language``, ``pivot``, ``layer``,
        ``divergence`` (see :func:`~langneurons.identification.routing.routing_divergence`; NaN for
        the pivot itself), ``halves`` (the same between two halves of the pivot's documents, from
        its sampled tokens: what chance alone gives, and rather more, as the sample is smaller than
        the text; NaN without token rows) and ``entropy`` (of the language's loads, over that of
        equal loads).
    """
    from langneurons.identification.routing import routing_divergence, usage_entropy

    apart = routing_divergence(stats, pivot)
    entropy = usage_entropy(stats)
    halves = _halves(stats, pivot)
    rows = []
    for lang in stats.languages:
        for layer, used in enumerate(entropy[lang].tolist()):
            if used == used:  # a layer without a router has none
                rows.append(
                    {
                        "language": lang,
                        "pivot": pivot,
                        "layer": layer,
                        "divergence": float(apart[lang][layer]) if lang != pivot else float("nan"),
                        "halves": halves[layer],
                        "entropy": used,
                    }
                )
    return pd.DataFrame(rows)


def _halves(stats: Statistics, lang: str) -> list[float]:
    """Divergence between two halves of a language's documents, by layer."""
    import torch

    from langneurons.identification.routing import routing_divergence
    from langneurons.statistics import Statistics

    layers = stats.shape[0]
    if not stats.has("rows"):
        return [float("nan")] * layers
    documents = stats.row_documents(lang)
    order = documents.unique()  # keys are hashes: their order has nothing to do with the text
    first = torch.isin(documents, order[: len(order) // 2])
    chosen = [stats.rows(lang, layer) > 0 for layer in range(layers)]
    parts = {"first": first, "second": ~first}
    if not all(bool(part.any()) for part in parts.values()):
        return [float("nan")] * layers
    counts = {
        name: torch.stack([rows[part].sum(0) for rows in chosen]) for name, part in parts.items()
    }
    tokens = {name: int(part.sum()) for name, part in parts.items()}
    split = Statistics.from_counts(counts, tokens, site=SITE)
    return [float(value) for value in routing_divergence(split, "first")["second"]]
