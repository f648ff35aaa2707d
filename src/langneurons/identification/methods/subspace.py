"""Units by their part in the linear direction that tells a language from the others."""

from __future__ import annotations

import torch

from langneurons.identification.evidence import BalancedRows, finite_scores
from langneurons.identification.method import Found, method
from langneurons.identification.selection import take_top
from langneurons.identification.subspaces import Direction, discriminant
from langneurons.progress import track
from langneurons.statistics import Statistics


@method("subspace", needs="rows")
def subspace(
    statistics: Statistics,
    *,
    kind: Direction = "lda",
    top: float = 0.00125,
    both_signs: bool = False,
) -> Found:
    """Units that make up the direction along which a language differs from all others.

    In each layer one direction r reads the language: the difference of means (``mean``), Fisher's
    discriminant (``lda``), or the one that least-squares concept erasure removes (``leace``). With
    l the difference of means, unit u has the share l_u r_u / (l.r) of it, and

        score_k(u) = share(u) x J,     J = (l.r)^2 / (variance within along r),

    so that layers in which the language is told well count more. The ``top`` share of all units is
    taken for each language. Unlike other methods it weighs a unit together with all others: one
    that only repeats what others say gets little of ``lda`` and ``leace``. ``mean`` does not know
    how much a unit varies within a language, and so prefers units of large activations.

    Source: Fisher 1936; Belrose et al. 2023, arXiv 2306.03819.

    Complexity: O(L (n K U + U^3)) time for ``lda`` and ``leace``, O(L n K U) for ``mean``;
    memory O(U^2).

    Args:
        statistics: Statistics with a row sample of at least two languages.
        kind: ``mean``, ``lda`` or ``leace`` (needs the extra ``erasure``).
        top: Share (float) or number (int) of all units to take for each language.
        both_signs: Also take units that are lower in the language than in the others.
    """
    sample = BalancedRows(statistics)
    layers, units = statistics.shape
    table = torch.zeros((len(sample.languages), layers, units), dtype=torch.float64)
    with track("subspace", layers * len(sample.languages), "directions") as bar:
        for layer in range(layers):
            rows = {name: sample.layer(name, layer).float() for name in sample.languages}
            broken = torch.stack([item.isnan().any(0) for item in rows.values()]).any(0)
            rows = {name: item.masked_fill(broken, 0.0) for name, item in rows.items()}
            for k, name in enumerate(sample.languages):
                found = discriminant(rows, name, kind)
                score = found.shares * found.fisher
                lower = (found.gap <= 0) & (not both_signs)
                table[k, layer] = torch.where(lower, -torch.inf, score)
                bar.advance()
            table[:, layer, broken] = torch.nan
    scores = {
        name: finite_scores(table[k], name, "subspace") for k, name in enumerate(sample.languages)
    }
    return Found(scores=scores, selected=take_top(scores, top))
