"""LAPE for units that have no zero to be above: activity over a threshold of the unit's own."""

from __future__ import annotations

import numpy as np
import torch

from langneurons.identification.evidence import BalancedRows
from langneurons.identification.method import Found, method
from langneurons.identification.methods.lape import entropy_rule
from langneurons.identification.selection import (
    Cutoff,
    Percentile,
    check_share,
)
from langneurons.progress import track
from langneurons.statistics import Statistics


@method("lape_pooled", needs="rows")
def lape_pooled(
    statistics: Statistics,
    *,
    q: float = 0.9,
    absolute: bool = False,
    top: float = 0.01,
    filter: float = 0.95,
    bar: float = 0.95,
    percentile: Percentile = "kthvalue",
    cutoff: Cutoff = "count",
) -> Found:
    """The LAPE rule with "active" meaning: above the unit's own ``q`` quantile over all languages.

    LAPE calls a unit active above 0. The norm of an attention head (``attn.head``) is above 0 at
    every token, so that rule cannot rank heads; and a query, key or value coordinate is as far
    from rest at -3 as at 3. Here P_k(u) is the share of language k's tokens on which a(u) (or its
    absolute value) exceeds t(u), the ``q`` quantile over all languages, each with the same number
    of tokens. Everything after that is :func:`~langneurons.identification.methods.lape.lape`:
    entropy over languages, filter and bar.

    Source: the rule of Tang et al. 2024 (arXiv 2402.16438) with the pooled threshold that
    ``activation_probability`` offers; the absolute value follows the attention units of
    kinit-sk/language-neuron-detection.

    Complexity: O(L U K n log(K n)) time for n rows a language; memory for one layer's rows.

    Args:
        statistics: Statistics with a row sample of at least two languages.
        q: Quantile of the pooled tokens.
        absolute: Compare absolute values.
        top: Share of all units to take (float), or their number (int).
        filter: Percentile of P that a unit must exceed in some language.
        bar: Percentile of P that a unit must exceed in each language it is given to.
        percentile: ``"kthvalue"`` or ``"interpolated"``.
        cutoff: As for ``lape``.

    Raises:
        InputError: If there are no rows or no unit passes the filter.
    """
    for name, share in (("q", q), ("filter", filter), ("bar", bar)):
        check_share(name, share, ends=name != "q")
    sample = BalancedRows(statistics)
    layers, units = statistics.shape
    activity = torch.empty((len(sample.languages), layers, units), dtype=torch.float64)
    with track("lape_pooled", layers, "layers") as bar_shown:
        for layer in range(layers):
            rows = [sample.layer(name, layer).float() for name in sample.languages]
            rows = [item.abs() for item in rows] if absolute else rows
            limit = torch.from_numpy(
                np.quantile(torch.cat(rows).T.contiguous().numpy(), q, axis=1).astype(np.float64)
            )
            for k, item in enumerate(rows):
                activity[k, layer] = (item.double() > limit).double().mean(0)
            bar_shown.advance()
    return entropy_rule(
        activity, sample.languages, top=top, filter=filter, bar=bar, rule=percentile, cutoff=cutoff
    )
