"""Units as detectors of a language: average precision and the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from langneurons.identification.evidence import BalancedRows, finite_scores
from langneurons.identification.method import Found, method
from langneurons.identification.parallel import over_slices
from langneurons.identification.ranking import Ranked
from langneurons.identification.selection import take_top
from langneurons.progress import track
from langneurons.statistics import Statistics

_RANKED_AT_ONCE = 1 << 21  # values; the sort and its few temporaries stay below 100 MB


@method("average_precision", needs="rows")
def average_precision(statistics: Statistics, *, top: float = 0.00125) -> Found:
    """Expert units: those whose activation best detects the tokens of one language.

    For each language k, tokens of k are the positives and an equal number from every other
    language the negatives; a unit's activation is the score of a detector, and

        AP_k(u) = sum_i (R_i - R_{i-1}) P_i

    over its distinct activation values i, descending (P precision, R recall; 1/K by chance). The
    ``top`` share of all units by AP is taken for each language.

    Source: Suau et al. 2022 (expert units), Kojima et al. 2024, arXiv 2404.02431. They average the
    activation over each sentence first; here a token is an example, from the row sample.

    Complexity: O(L U K n log(K n)) time for n rows a language; memory for one layer's rows.

    Args:
        statistics: Statistics with a row sample of at least two languages.
        top: Share (float) or number (int) of all units to take for each language.
    """
    return _detectors(statistics, top, "average_precision", Ranked.average_precision)


@method("auroc", needs="rows")
def auroc(statistics: Statistics, *, top: float = 0.00125) -> Found:
    """Units whose activation is most often higher in one language than in the others.

        AUROC_k(u) = P(a_k > a_other) + P(a_k = a_other) / 2

    for a random token of language k and one of the other languages, each language equally likely
    (0.5 by chance). The ``top`` share of all units is taken for each language. Unlike average
    precision it weighs all of the distribution, not the highest activations alone.

    Source: Mann and Whitney 1947.

    Complexity: as ``average_precision``.

    Args:
        statistics: Statistics with a row sample of at least two languages.
        top: Share (float) or number (int) of all units to take for each language.
    """
    return _detectors(statistics, top, "auroc", Ranked.auroc)


def _detectors(
    statistics: Statistics,
    top: float,
    name: str,
    measure: Callable[[Ranked], np.ndarray[tuple[int, int], np.dtype[np.float64]]],
) -> Found:
    sample = BalancedRows(statistics)
    languages = sample.languages
    layers, units = statistics.shape
    table = torch.full((len(languages), layers, units), torch.nan, dtype=torch.float64)
    step = max(1, _RANKED_AT_ONCE // (sample.size * len(languages)))
    with track(name.replace("_", " "), layers * units, "units") as bar:
        for layer in range(layers):
            rows = [sample.layer(language, layer) for language in languages]

            def measured(part: slice, rows: list[Tensor] = rows) -> Tensor:
                chunk = [item[:, part] for item in rows]
                found = torch.from_numpy(measure(Ranked(chunk)))
                broken = torch.stack([item.isnan().any(0) for item in chunk]).any(0)
                found[:, broken] = torch.nan
                return found

            for part, found in over_slices(measured, units, step):
                table[:, layer, part] = found
                bar.advance(found.shape[1])
    scores = {
        language: finite_scores(table[k], language, name) for k, language in enumerate(languages)
    }
    return Found(scores=scores, selected=take_top(scores, top))
