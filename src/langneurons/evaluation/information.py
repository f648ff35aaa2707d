"""How much a unit's activation says about a label: area under the curve and mutual information."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from langneurons.errors import InputError

BINS = 4

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def separation(values: Tensor, labels: Integers) -> Floats:
    """How well each unit tells its best-told class from the others, either way round.

    max over classes c of |2 AUROC_c - 1|, AUROC_c being the chance that an example of class c has
    a higher activation than one of another class, ties counted half (Mann and Whitney 1947). 0
    says nothing, 1 tells the class apart without error. As a largest value of several it is above
    0 by chance; :func:`null_separation` gives that level.

    Args:
        values: (n, U), any floating dtype.
        labels: (n,), class of each example.

    Returns:
        float64 (U,).

    Raises:
        InputError: If there are fewer than two classes.
    """
    return _separation(_ranks(values), labels)


def _ranks(values: Tensor) -> Floats:
    ranks: Floats = rankdata(values.double().numpy(), axis=0)
    return ranks


def _separation(ranks: Floats, labels: Integers) -> Floats:
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2:
        raise InputError("separation needs examples of at least two classes.")
    total = len(labels)
    best = np.zeros(ranks.shape[1])
    for name, count in zip(names, counts, strict=True):
        hits = ranks[labels == name].sum(axis=0) - count * (count + 1) / 2
        best = np.maximum(best, np.abs(2 * hits / (count * (total - count)) - 1))
    return best


def null_separation(
    values: Tensor, labels: Integers, groups: Integers, *, rounds: int, seed: int
) -> Floats:
    """:func:`separation` with the labels dealt out anew within each group, float64 (rounds, U).

    Examples of one group (statements on one premise) have alike activations and often one of each
    label; dealing labels across groups would call units that tell premises apart as good by
    chance as units that tell labels apart. Groups of a single example are dealt among themselves.
    """
    ranks = _ranks(values)
    generator = np.random.default_rng(seed)
    alone = np.bincount(groups)[groups] == 1
    owner = np.where(alone, -1, groups)
    order = np.argsort(owner, kind="stable")
    found = []
    for _ in range(rounds):
        # Within each group the places keep their order, the labels come in a random one.
        shuffled = np.lexsort((generator.random(len(labels)), owner))
        dealt = np.empty_like(labels)
        dealt[order] = labels[shuffled]
        found.append(_separation(ranks, dealt))
    return np.stack(found)


def within_groups(values: Tensor, groups: Integers) -> Tensor:
    """Values minus the mean of their group; as they are where every group has one example.

    Args:
        values: (n, U).
        groups: (n,), 0 to the number of groups - 1.
    """
    counts = np.bincount(groups)
    if counts.max(initial=0) < 2:
        return values
    index = torch.from_numpy(groups)
    sums = torch.zeros(len(counts), values.shape[1], dtype=torch.float64)
    sums.index_add_(0, index, values.double())
    means = sums / torch.from_numpy(counts)[:, None]
    return values.double() - means[index]


def mutual_information(values: Tensor, labels: Integers, bins: int = BINS) -> Floats:
    """Mutual information of each unit's activation, cut into bins, and the label, in bits.

    The cuts are the activation's own quantiles (equal values share a bin). The estimate is
    corrected for its bias by (filled bins - 1)(classes - 1) / (2 n ln 2) (Miller 1955) and may
    therefore be slightly below 0.

    Args:
        values: (n, U).
        labels: (n,).
        bins: Number of bins.

    Returns:
        float64 (U,).
    """
    data = values.double().numpy()
    names, classes = np.unique(labels, return_inverse=True)
    n, k = len(labels), len(names)
    cuts = np.quantile(data, np.arange(1, bins) / bins, axis=0)
    place = (data[None] > cuts[:, None]).sum(axis=0)
    joint = np.zeros((bins, k, data.shape[1]))
    for b in range(bins):
        for c in range(k):
            joint[b, c] = ((place == b) & (classes == c)[:, None]).sum(axis=0)
    joint /= n
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log2(joint / outer), 0.0)
    filled = (joint.sum(axis=1) > 0).sum(axis=0)
    bias = (filled - 1) * (k - 1) / (2 * n * np.log(2))
    found: Floats = terms.sum(axis=(0, 1)) - bias
    return found


def pooled_rows(rows: dict[str, Tensor], language: str) -> tuple[Tensor, Integers]:
    """Token rows of a language (label 1) and equally many of each other one (label 0).

    Args:
        rows: Language to (n, U), the same n each.
        language: The one to be told apart.
    """
    labels = np.concatenate(
        [np.full(len(item), int(name == language)) for name, item in rows.items()]
    )
    return torch.cat([item.float() for item in rows.values()]), labels.astype(np.int64)
