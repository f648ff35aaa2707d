"""How many units two sets share, against chance."""

from __future__ import annotations

import pandas as pd
import torch
from scipy.stats import hypergeom

from langneurons.identification.unit_sets import UnitSets
from langneurons.identification.units import Units


def overlap(a: Units, b: Units, shape: tuple[int, int]) -> dict[str, float]:
    """Shared units of two sets, and what chance would give.

    If the first set is fixed and the second drawn uniformly from all L x U units, the number
    shared is hypergeometric with mean ``expected`` = |a| |b| / (L U); ``p_value`` is the chance of
    at least as many. ``expected_layers`` = sum over layers of |a_l| |b_l| / U keeps the number of
    units per layer, so that two sets in the same layers are not taken for related.

    Args:
        a: First set.
        b: Second set.
        shape: (layers, units) they live in.

    Returns:
        size, other_size, shared, jaccard (NaN for two empty sets), expected, jaccard_expected (at
        the expected number shared), expected_layers, p_value.
    """
    layers, units = shape
    shared = int(a.isin(b).sum())
    together = len(a) + len(b) - shared
    expected = len(a) * len(b) / (layers * units)
    by_layer = [torch.bincount(item.layers, minlength=layers).to(torch.float64) for item in (a, b)]
    rest = len(a) + len(b) - expected
    return {
        "size": len(a),
        "other_size": len(b),
        "shared": shared,
        "jaccard": shared / together if together else float("nan"),
        "expected": expected,
        "jaccard_expected": expected / rest if rest else float("nan"),
        "expected_layers": float((by_layer[0] * by_layer[1]).sum()) / units,
        "p_value": float(hypergeom.sf(shared - 1, layers * units, len(a), len(b))),
    }


def overlap_table(neurons: UnitSets, other: UnitSets | None = None) -> pd.DataFrame:
    """:func:`overlap` of every pair of languages.

    Args:
        neurons: A set.
        other: A set of the same shape; every language of the first is compared with every one of
            this. None: each pair of different languages of ``neurons`` once.

    Returns:
        Columns language, other, then those of :func:`overlap`.
    """
    if other is None:
        names = neurons.languages
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        second = neurons
    else:
        pairs = [(a, b) for a in neurons for b in other]
        second = other
    columns = list(overlap(Units.empty(), Units.empty(), neurons.shape))
    return pd.DataFrame(
        [
            {"language": a, "other": b, **overlap(neurons[a], second[b], neurons.shape)}
            for a, b in pairs
        ],
        columns=["language", "other", *columns],
    )
