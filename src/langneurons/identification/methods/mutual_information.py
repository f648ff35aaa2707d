"""Mutual information between a unit's activity and the language."""

from __future__ import annotations

import torch

from langneurons.identification.evidence import activity
from langneurons.identification.method import Found, method
from langneurons.identification.selection import take_top
from langneurons.statistics import Statistics


@method("mutual_information", needs="counts")
def mutual_information(
    statistics: Statistics, *, top: float = 0.00125, both_signs: bool = False
) -> Found:
    """Units whose being active tells most about whether a token is of the language.

        I_k(u) = h(pi P_k + (1 - pi) P_o) - pi h(P_k) - (1 - pi) h(P_o),     pi = 1/2,

    in nats, with h the binary entropy, P_k the activation probability in language k and P_o its
    mean over the other languages: the mutual information of "active" and "is language k" when
    both answers are equally likely, between 0 and ln 2. The ``top`` share of all units is taken
    for each language, only among units more active in k than elsewhere unless ``both_signs``.

    Source: Shannon's mutual information; with pi = 1/2 it is the Jensen-Shannon divergence of the
    two Bernoulli distributions (Lin 1991).

    Complexity: O(L U K) time and memory.

    Args:
        statistics: Activation counts of at least two languages.
        top: Share (float) or number (int) of all units to take for each language.
        both_signs: Admit units that are less active in the language than in the others.
    """
    probabilities = activity(statistics).clamp_max(1)
    scores = {}
    for k, language in enumerate(statistics.languages):
        own = probabilities[k]
        others = (probabilities.sum(0) - own) / (len(probabilities) - 1)
        information = _binary((own + others) / 2) - (_binary(own) + _binary(others)) / 2
        information = information.clamp_min(0)
        if not both_signs:
            information = torch.where(
                own > others, information, torch.full_like(information, -torch.inf)
            )
        scores[language] = information
    return Found(scores=scores, selected=take_top(scores, top))


def _binary(p: torch.Tensor) -> torch.Tensor:
    entropy: torch.Tensor = -torch.special.xlogy(p, p) - torch.special.xlogy(1 - p, 1 - p)
    return entropy
