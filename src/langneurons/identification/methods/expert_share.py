"""The published rule of expert specialisation in mixtures of experts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from langneurons.identification.evidence import activity
from langneurons.identification.method import Found, method
from langneurons.identification.routing import warn_of_uneven_load
from langneurons.identification.selection import check_integer, check_share, highest
from langneurons.statistics import Statistics


@method("expert_share", needs="counts")
def expert_share(
    statistics: Statistics,
    *,
    k: int = 15,
    threshold: float = 0.4,
    take: Literal["exclusive", "shared"] = "exclusive",
) -> Found:
    """Experts that one language uses much more than the others do, or that several share.

    With f_l(e) the share of language l's tokens that are routed to expert e, for each language and
    layer the ``k`` largest f_l are kept and the others set to 0; then

        s_l(e) = f_l(e) / sum_j f_j(e).

    An expert is exclusive to l where s_l > ``threshold``; it is shared where some s is above 0 and
    all are below the threshold. With a threshold under 1/2 an expert can be exclusive to two
    languages. For ``take="shared"`` a language gets the shared experts that it keeps itself.

    On another site than ``moe.router`` f is the share of tokens with an activation above 0 and the
    rule means the units that fire most often; ``k`` should then be larger.

    Source: conctsai/Multilingualism-in-Mixture-of-Experts-LLMs (MIT), for Qwen3-30B-A3B with 128
    experts a layer: k 15, threshold 0.4. On their counts the published experts come out exactly.

    Complexity: O(L E K) for K languages.

    Args:
        statistics: Counts of at least two languages.
        k: Experts kept in each language and layer; all where a layer has no more.
        threshold: Share over languages that makes an expert exclusive.
        take: ``"exclusive"`` or ``"shared"``.

    Raises:
        InputError: If ``k`` is below 1, or the threshold is no share.
    """
    check_integer("k", k, 1)
    check_share("threshold", threshold)
    if statistics.site == "moe.router":
        warn_of_uneven_load(statistics)
    kept = _largest(activity(statistics), k)
    total = kept.sum(0)
    share = kept / torch.where(total > 0, total, torch.ones_like(total))
    shared = (total > 0) & (share < threshold).all(0)
    if take == "exclusive":
        selected, scores = share > threshold, share
    else:
        selected, scores = shared & (kept > 0), kept.where(shared, 0)
    return Found(
        scores={
            lang: torch.where(scores[i] > 0, scores[i], torch.full_like(scores[i], -torch.inf))
            for i, lang in enumerate(statistics.languages)
        },
        selected={lang: selected[i] for i, lang in enumerate(statistics.languages)},
        facts={"kept": int((total > 0).sum()), "shared": int(shared.sum())},
    )


def _largest(shares: Tensor, k: int) -> Tensor:
    """Shares (K, L, E) with all but the k largest of each language and layer set to 0."""
    mask = torch.stack([torch.stack([highest(row, k) for row in rows]) for rows in shares])
    return shares.where(mask, 0)
