"""Standardised mean difference."""

from __future__ import annotations

import torch

from langneurons.identification.evidence import finite_scores
from langneurons.identification.method import Found, method
from langneurons.identification.selection import take_top
from langneurons.statistics import Statistics


@method("difference", needs="moments")
def difference(statistics: Statistics, *, top: float = 0.00125) -> Found:
    """Units whose mean activation stands out most in one language, in standard deviations.

        d_k(u) = (m_k - m_o) / sqrt((s_k^2 + s_o^2) / 2),

    with m_k, s_k mean and standard deviation in language k, and m_o, s_o those of an equal mixture
    of the other languages (so s_o^2 is the mean of their variances plus the variance of their
    means). A unit that is constant everywhere scores 0. The ``top`` share of all units by d_k is
    taken for each language; a unit that is *lower* in k than elsewhere has a negative score.

    Source: Cohen's d; the unstandardised difference is the monolinguality of arXiv 2505.05111.

    Complexity: O(L U K) time and memory.

    Args:
        statistics: Statistics with means of at least two languages.
        top: Share (float) or number (int) of all units to take for each language.
    """
    languages = statistics.languages
    means = torch.stack([statistics.mean(language).double() for language in languages])
    variances = torch.stack([statistics.std(language).double() for language in languages]).square()
    scores = {}
    for k, language in enumerate(languages):
        others = [i for i in range(len(languages)) if i != k]
        mean = means[others].mean(0)
        variance = variances[others].mean(0) + (means[others] - mean).square().mean(0)
        gap = means[k] - mean
        spread = ((variances[k] + variance) / 2).sqrt()
        # A unit constant in every language but different in one would divide by zero.
        score = gap / spread.clamp_min(torch.finfo(torch.float32).tiny)
        scores[language] = finite_scores(score, language, "difference")
    return Found(scores=scores, selected=take_top(scores, top))
