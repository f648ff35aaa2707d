"""Distribution-aware language neurons: how much activation distributions overlap."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from langneurons.identification.evidence import BalancedRows
from langneurons.identification.method import Found, method
from langneurons.identification.parallel import over_slices
from langneurons.identification.selection import check_integer, check_share, percentile
from langneurons.progress import track
from langneurons.statistics import Statistics

_FLOOR = -0.4
_BINNED_AT_ONCE = 1 << 18  # values; index and temporaries of a chunk stay in a CPU's L2 cache


@method("dln", needs="rows")
def dln(
    statistics: Statistics,
    *,
    tau: float = 0.01,
    bins: int = 400,
    floor: float | None = None,
    single: bool = False,
) -> Found:
    """Units whose activation distribution in some languages hardly overlaps that in the others.

    For each unit and pair of languages, the overlap coefficient of the activation distributions is

        S = sum_b min(p_b, q_b)

    over common bins: ``bins`` of equal width between max(m - 3 s, ``floor``) and m + 3 s, with m
    and s the mean and deviation over all languages, plus one below and one above. A split of the
    languages into two groups costs the largest S across the groups; the cheapest split is what
    single linkage gives for two clusters. A unit is taken when its cost is at most the ``tau``
    quantile of all pair overlaps of all units, and below 1. It belongs to each language of the
    smaller group (of two equal groups, the one with the higher mean activation); with one language
    in it the unit is a single-language neuron, else a multi-language one.

    A distribution also differs where a unit is *silent* in one language only: such a unit is taken
    for that language too.

    Source: "Distribution-aware language neuron identification", EMNLP 2026. They read 100,000
    tokens a language in two passes; here the row sample serves, in one. With n rows and B bins in
    use, sampling alone lowers S by about sqrt(B / (pi n)); use fewer bins for small samples.

    Complexity: O(L U (K n + K^2 B)) time; memory for one layer's rows and L U K^2 / 2 overlaps.

    Args:
        statistics: Statistics with a row sample of at least two languages.
        tau: Share of all pair overlaps that counts as "hardly".
        bins: Bins between the two ends.
        floor: Lowest left end; None: -0.4 at ``mlp.act``, about the minimum of SiLU and GELU, and
            none at other sites, whose values have no such end.
        single: Admit single-language neurons only.
    """
    check_share("tau", tau)
    check_integer("bins", bins, 1)
    if floor is None:
        floor = _FLOOR if statistics.site == "mlp.act" else -math.inf
    sample = BalancedRows(statistics)
    languages = sample.languages
    layers, units = statistics.shape
    pairs = len(languages) * (len(languages) - 1) // 2
    overlaps = torch.empty((pairs, layers, units), dtype=torch.float32)
    means = torch.stack([statistics.mean(language).double() for language in languages])
    variances = torch.stack([statistics.std(language).double() for language in languages]).square()
    middle = means.mean(0)
    spread = (variances.mean(0) + (means - middle).square().mean(0)).sqrt()
    broken = ~torch.isfinite(spread)
    middle, spread = middle.masked_fill(broken, 0), spread.masked_fill(broken, 0)
    low = (middle - 3 * spread).clamp_min(floor)
    high = middle + 3 * spread
    with track("distribution overlap", layers * units, "units") as bar:
        for layer in range(layers):
            rows = [sample.layer(language, layer) for language in languages]
            if bool(broken[layer].any()):
                rows = [item.nan_to_num(0) for item in rows]
            ends = low[layer], high[layer]

            def compared(
                part: slice, rows: list[Tensor] = rows, ends: tuple[Tensor, Tensor] = ends
            ) -> Tensor:
                left, right = ends[0][part], ends[1][part]
                counts = [histogram(item[:, part], left, right, bins) for item in rows]
                return pair_overlaps(torch.stack(counts), sample.size)

            step = max(1, _BINNED_AT_ONCE // max(sample.size, bins + 2))
            for part, found in over_slices(compared, units, step):
                overlaps[:, layer, part] = found
                bar.advance(found.shape[1])
    if bool(broken.any()):
        warnings.warn(
            f"method 'dln': {int(broken.sum())} units have NaN in their statistics and are left "
            "out.",
            stacklevel=2,
        )
        overlaps[:, broken] = 1
    limit = percentile(overlaps, tau, "interpolated")
    cost, group = best_split(
        overlaps.reshape(pairs, -1), means.nan_to_num(0).reshape(len(languages), -1)
    )
    cost, group = cost.reshape(layers, units), group.reshape(len(languages), layers, units)
    alone = group.sum(0) == 1
    if single:
        group = group & alone
    scores = {
        language: torch.where(group[k], -cost.double(), torch.full((), -torch.inf).double())
        for k, language in enumerate(languages)
    }
    # Where most distributions are the same, the quantile is 1: identical ones are never taken.
    taken = (cost <= limit) & (cost < 1)
    selected = {language: group[k] & taken for k, language in enumerate(languages)}
    return Found(
        scores=scores,
        selected=selected,
        facts={
            "overlap_limit": limit,
            "single_language_units": int((taken & alone).sum()),
            "multi_language_units": int((taken & ~alone).sum()),
            "rows": sample.size,
            **({} if floor == -math.inf else {"floor": floor}),
        },
    )


def histogram(rows: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Counts of each unit's activations in ``bins`` equal bins, one below and one above.

    Args:
        rows: (n, U), any floating dtype, no NaN.
        low: (U,) left end of the first bin.
        high: (U,) right end of the last bin, not below ``low``.
        bins: Number of bins between.

    Returns:
        int32 (U, bins + 2). A unit with ``low == high`` has its values below or above, or, where
        they equal both, in the first bin.
    """
    units, size = rows.shape[1], bins + 2
    width = (high - low).double()
    scale = torch.where(width > 0, bins / width.clamp_min(1e-30), 1e30).float()
    # The place within a unit's own bins; the cast to integers is then floor(). The unit's place
    # among all bins is added as an integer, so that no other unit changes how a value is rounded.
    place = torch.sub(rows.float(), low.float()).mul_(scale).add_(1).clamp_(0, size - 1)
    position = place.to(torch.int32).add_(torch.arange(units, dtype=torch.int32) * size)
    counts = torch.bincount(position.reshape(-1), minlength=units * size)
    return counts.to(torch.int32).reshape(units, size)


def pair_overlaps(counts: Tensor, rows: int) -> Tensor:
    """Overlap coefficient of each pair of languages.

    Args:
        counts: int32 (K, U, B), each summing to ``rows`` over B.
        rows: Rows counted.

    Returns:
        float32 (K (K - 1) / 2, U), pairs in the order of ``torch.triu_indices``.
    """
    first, second = torch.triu_indices(len(counts), len(counts), offset=1)
    return torch.stack(
        [
            torch.minimum(counts[a], counts[b]).sum(-1).float() / rows
            for a, b in zip(first.tolist(), second.tolist(), strict=True)
        ]
    )


def best_split(overlaps: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Cheapest split of the languages into two groups, for each unit.

    The largest similarity across the groups is least where the weakest edge of a maximum spanning
    tree is cut (single linkage). The tree is grown from language 0, for all units at once (Prim):
    when the weakest edge is about to be added, the tree so far is one of the two groups.

    Args:
        overlaps: (K (K - 1) / 2, U), as :func:`pair_overlaps` gives them.
        means: (K, U) mean activations, to choose between groups of equal size.

    Returns:
        Cost (U,), and BoolTensor (K, U): the smaller group.
    """
    k, units = means.shape
    similarity = torch.full((units, k, k), -torch.inf)
    first, second = torch.triu_indices(k, k, offset=1)
    similarity[:, first, second] = overlaps.T
    similarity[:, second, first] = overlaps.T
    every = torch.arange(units)
    inside = torch.zeros((units, k), dtype=torch.bool)
    inside[:, 0] = True
    nearest = similarity[:, 0].clone()
    cost = torch.full((units,), torch.inf)
    group = inside.clone()
    for _ in range(k - 1):
        edge, chosen = torch.where(inside, -torch.inf, nearest).max(1)
        weaker = edge < cost
        cost = torch.where(weaker, edge, cost)
        group = torch.where(weaker[:, None], inside, group)
        inside[every, chosen] = True
        nearest = torch.maximum(nearest, similarity[every, chosen])
    size = group.sum(1)
    inner = torch.where(group, means.T, 0.0).sum(1) / size
    outer = torch.where(group, 0.0, means.T).sum(1) / (k - size)
    flip = (2 * size > k) | ((2 * size == k) & (outer > inner))
    return cost, torch.where(flip[:, None], ~group, group).T.contiguous()
