"""Linear subspaces that tell languages apart at a site, and the projections that erase them.

All are one shape: x -> x - L R (x - c), with L (width, r), R (r, width) and c (width,). Erasing
takes the mean of all languages for c, moving to a language that language's mean.

========== ==================================================================================
kind       L R
========== ==================================================================================
mean       orthogonal projection on the span of the languages' means minus the common mean
pca        the same on its first principal components only
lda        orthogonal projection on the directions linear discriminant analysis reads
leace      least-squares concept erasure: the smallest change (in the metric of the covariance)
           after which no linear classifier does better than the class shares
units      single coordinates: what overwriting neurons with their mean is
random     orthogonal projection on a random subspace of the same rank
========== ==================================================================================

Sources: difference of means and LDA, Fisher 1936; LEACE, Belrose et al. 2023 (arXiv 2306.03819),
by their package ``concept-erasure``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from langneurons.errors import InputError, unknown

if TYPE_CHECKING:
    from langneurons.identification.units import Units

Direction = Literal["mean", "lda", "leace"]
KINDS = ("mean", "pca", "lda", "leace")
_TOLERANCE = 1e-6
_SVD_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Subspace:
    """A linear part of a site's activations in one layer.

    Attributes:
        left: L, float32 (width, r).
        right: R, float32 (r, width).
        origin: c, float32 (width,).
        name: Kind, for tables.
    """

    left: Tensor
    right: Tensor
    origin: Tensor
    name: str

    @property
    def rank(self) -> int:
        """Dimensions of the subspace that are not 0."""
        return int(torch.linalg.matrix_rank(self.left @ self.right)) if self.left.numel() else 0

    def erase(self, x: Tensor) -> Tensor:
        """Set the part of ``x`` in the subspace to that of ``origin``; any leading dimensions."""
        left, right, origin = (
            t.to(x.device, x.dtype) for t in (self.left, self.right, self.origin)
        )
        return x - ((x - origin) @ right.T) @ left.T

    def towards(self, mean: Tensor) -> Subspace:
        """The same subspace with another origin, such as one language's mean."""
        return replace(self, origin=mean.float())


def fit(rows: Mapping[str, Tensor], kind: str, rank: int | None = None) -> Subspace:
    """The subspace of one kind that tells languages apart.

    Args:
        rows: Language to activations (n, width), the same n each, at least two languages.
        kind: One of :data:`KINDS`.
        rank: Dimensions kept by ``pca``; default and most: languages - 1.

    Raises:
        InputError: If the kind is unknown, there is one language, or ``concept-erasure`` is
            missing for ``leace``.
    """
    if kind not in KINDS:
        raise unknown("kind of subspace", kind, KINDS)
    if len(rows) < 2:
        raise InputError("a subspace between languages needs two languages or more.")
    data = {name: item.double() for name, item in rows.items()}
    means = torch.stack([item.mean(0) for item in data.values()])
    centre = means.mean(0)
    gaps = means - centre
    if kind == "leace":
        left, right = _leace(data)
    elif kind == "lda":
        within = pooled_covariance(data)
        # The directions read are the columns of S_w^-1 (mean_k - mean).
        left = _basis(torch.linalg.solve(within, gaps.T), len(rows) - 1)
        right = left.T
    else:
        kept = len(rows) - 1 if rank is None or kind == "mean" else min(rank, len(rows) - 1)
        left = _basis(gaps.T, kept)
        right = left.T
    return Subspace(left.float(), right.float(), centre.float(), kind)


def _basis(vectors: Tensor, rank: int) -> Tensor:
    """Orthonormal basis of the strongest ``rank`` directions of columns (width, k)."""
    u: Tensor
    u, s, _ = torch.linalg.svd(vectors, full_matrices=False)
    kept = min(rank, int((s > _TOLERANCE * s.max().clamp_min(1e-30)).sum()))
    return u[:, :kept]


def pooled_covariance(data: Mapping[str, Tensor]) -> Tensor:
    """Covariance within languages, shrunk towards a multiple of the identity (Ledoit and Wolf).

    A trace of the identity is added, so that units that never vary leave it invertible.

    Args:
        data: Language to rows (n, width), float64.

    Returns:
        float64 (width, width).
    """
    from sklearn.covariance import ledoit_wolf

    centred = torch.cat([item - item.mean(0) for item in data.values()]).numpy()
    found = torch.from_numpy(np.asarray(ledoit_wolf(centred, assume_centered=True)[0]))
    typical = float(found.diagonal().mean())
    return found + (1e-6 * typical or 1.0) * torch.eye(len(found), dtype=found.dtype)


def _leace(data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    if importlib.util.find_spec("concept_erasure") is None:
        raise InputError(
            "LEACE needs the package concept-erasure: install langneurons with the extra "
            "[erasure] (pip install 'langneurons[erasure]')."
        )
    from concept_erasure import LeaceFitter

    x = torch.cat(list(data.values()))
    owner = torch.arange(len(data)).repeat_interleave(
        torch.tensor([len(item) for item in data.values()])
    )
    classes = torch.nn.functional.one_hot(owner, len(data)).to(x.dtype)
    fitter = LeaceFitter(
        x.shape[1], len(data), dtype=x.dtype, svd_tol=_SVD_TOLERANCE, shrinkage=True
    )
    eraser = fitter.update(x, classes).eraser
    left, right = eraser.proj_left, eraser.proj_right
    used = left.norm(dim=0) * right.norm(dim=1) > 1e-12
    return left[:, used], right[used]


def random_subspace(like: Subspace, rank: int, seed: int) -> Subspace:
    """A random subspace of some rank with the same origin."""
    generator = torch.Generator().manual_seed(seed)
    width = like.left.shape[0]
    drawn = torch.randn(width, min(rank, width), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(drawn)[0].float()
    return Subspace(basis, basis.T.contiguous(), like.origin, "random")


def of_units(units: Units, layer: int, origin: Tensor) -> Subspace:
    """The coordinates of the units that lie in a layer: erasing sets them to ``origin``."""
    index = units.indices[units.layers == layer]
    left = torch.zeros(len(origin), len(index))
    left[index, torch.arange(len(index))] = 1.0
    return Subspace(left, left.T.contiguous(), origin.float(), "units")


@dataclass(frozen=True, eq=False)
class Discriminant:
    """What tells one language from all others in one layer.

    Attributes:
        shares: float64 (width,), each unit's share in the rank-one projection, summing to 1.
        gap: float64 (width,), the language's mean minus that of all others.
        fisher: Squared gap between the two means along the direction read, in units of the
            variance within: how well the direction tells them apart.
    """

    shares: Tensor
    gap: Tensor
    fisher: float


def discriminant(rows: Mapping[str, Tensor], language: str, kind: str) -> Discriminant:
    """Each unit's part in telling one language from all the others.

    The rank-one projection l r^T (r.l = 1) has trace sum_u l_u r_u = 1: l_u r_u is unit u's share,
    below 0 where the unit only cancels others. l is the difference of means; r is the same
    (``mean``), the discriminant S_w^-1 l (``lda``), or what LEACE reads (``leace``).

    Args:
        rows: Language to activations (n, width).
        language: The one.
        kind: ``mean``, ``lda`` or ``leace``.

    Raises:
        InputError: If the kind is unknown.
    """
    own = rows[language].double()
    others = torch.cat([item.double() for name, item in rows.items() if name != language])
    gap = own.mean(0) - others.mean(0)
    if kind == "mean":
        read = gap
    elif kind == "lda":
        read = torch.linalg.solve(pooled_covariance({"own": own, "others": others}), gap)
    elif kind == "leace":
        _, right = _leace({"own": own, "others": others})
        read = right[0] if len(right) else torch.zeros_like(gap)
    else:
        raise unknown("kind of subspace", kind, ("mean", "lda", "leace"))
    along = float(gap @ read)
    spread = sum(float(((item - item.mean(0)) @ read).square().sum()) for item in (own, others))
    within = spread / (len(own) + len(others))
    if along == 0 or within == 0:
        return Discriminant(torch.zeros_like(gap), gap, 0.0)
    return Discriminant(gap * read / along, gap, along**2 / within)


def moved(subspace: Subspace, rows: Tensor) -> float:
    """Root mean square of how far erasing moves a row, as a share of its length.

    Args:
        subspace: What is erased.
        rows: Activations (n, width).
    """
    apart = subspace.erase(rows) - rows
    return float((apart.norm(dim=1) / rows.norm(dim=1)).square().mean().sqrt())


def as_large(like: Subspace, rows: Tensor, seed: int) -> Subspace:
    """A random subspace with the same origin, of the least rank that moves rows as far.

    Args:
        like: What it is a control of.
        rows: Activations (n, width) on which both are held against each other.
        seed: Of the draw.
    """
    wanted = moved(like, rows)
    low, high = 1, rows.shape[1]
    while low < high:
        middle = (low + high) // 2
        if moved(random_subspace(like, middle, seed), rows) < wanted:
            low = middle + 1
        else:
            high = middle
    return random_subspace(like, low, seed)
