"""Directions that lead from one language to another: units beside neurons, most in ``resid``.

All come from statistics (means; token rows for those that need them), one direction a layer. With
m_k the mean of language k, s the source (one language, or the mean over all others, each of the
same weight) and g = m_target - m_s:

========== ======================================================================================
method     direction
========== ======================================================================================
difference m_target - beta m_s; beta 1: difference of means (arXiv 2601.08331), else a language
           vector (hSterz/recover)
pca        first principal component of target and source rows about their common mean
lda        S_w^-1 g, with S_w the covariance within target and source (Fisher 1936; shrunk by
           Ledoit and Wolf)
probe      weights of a logistic regression that tells target from source rows, each coordinate
           in units of its spread
========== ======================================================================================

The last three have a length of their own that means nothing: they point to the target's side and
get the length of g, so that one strength is one size for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.artifacts import digest, read_tensors, write_tensors
from langneurons.errors import ArtifactError, InputError, unknown
from langneurons.identification.evidence import BalancedRows
from langneurons.identification.subspaces import pooled_covariance
from langneurons.identification.units import Units
from langneurons.models.fingerprint import same_model
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

METHODS = ("difference", "pca", "lda", "probe")
_FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class Direction:
    """One language's direction in every layer.

    Attributes:
        vector: float32 (layers, width).
        mean: float32 (layers, width), the mean over all languages (each of the same weight): what
            mean-ablation sets the part along the direction to.
        target: float32 (layers, width), the language's own mean.
        gain: float32 (layers,), by which what is taken off is multiplied; 1 but for controls that
            are to change as much as another direction.
        site: Where it lives.
        model: Fingerprint of the model whose activations these are; None where not known.
        name: For tables.
    """

    vector: Tensor
    mean: Tensor
    target: Tensor
    gain: Tensor
    site: str
    model: Mapping[str, Any] | None
    name: str

    def __repr__(self) -> str:
        layers, width = self.vector.shape
        return f"Direction({self.name!r}, {self.site}, {layers} layers of {width})"

    @property
    def norm(self) -> Tensor:
        """Length in every layer, float32 (layers,)."""
        lengths: Tensor = torch.linalg.vector_norm(self.vector, dim=1)
        return lengths

    def unit(self) -> Direction:
        """The same of length 1 in every layer (0 where there is none)."""
        scaled = torch.nn.functional.normalize(self.vector, dim=1, eps=1e-30)
        return replace(self, vector=scaled)

    def random_like(
        self, seed: int, matched: str = "norm", statistics: Statistics | None = None
    ) -> Direction:
        """A random direction as a control.

        Args:
            seed: Seed of the draw.
            matched: ``norm``: as long in every layer, so that adding it changes as much.
                ``ablate`` or ``project``: also what ablating (about the mean) or projecting out
                takes off is as large, in the root mean square over token rows, by ``gain``.
            statistics: Where the rows are, for the latter two.

        Raises:
            InputError: If ``matched`` is unknown or there are no rows of this site.
        """
        if matched not in ("norm", "ablate", "project"):
            raise unknown("way to match a direction", matched, ("norm", "ablate", "project"))
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(self.vector.shape, generator=generator, dtype=torch.float64)
        drawn = torch.nn.functional.normalize(drawn, dim=1)
        name = f"random {seed} like {self.name}"
        found = replace(self, vector=(drawn * self.norm.double()[:, None]).float(), name=name)
        if matched == "norm":
            return replace(found, gain=torch.ones_like(self.gain))
        if statistics is None:
            raise InputError(f"matched={matched!r} needs statistics with token rows: give them.")
        _of_site(statistics, self.site)
        about = self.mean if matched == "ablate" else torch.zeros_like(self.mean)
        own, other = (_spread(statistics, item.unit().vector, about) for item in (self, found))
        gain = self.gain.double() * own / other.clamp_min(1e-30)
        return replace(found, gain=gain.float())

    def dimensions(self, count: int) -> Units:
        """The coordinates with the largest absolute values in each layer.

        Of a difference of means these are the language-specific dimensions of
        ku-nlp/language-specific-dimensions, which are overwritten with the target's mean:
        ``intervene(lm, direction.dimensions(400), Value.mean(stats, "hi"))``.

        Args:
            count: Coordinates a layer.

        Raises:
            InputError: If there are not so many.
        """
        layers, width = self.vector.shape
        if not 1 <= count <= width:
            raise InputError(f"a layer has {width} dimensions: choose 1 to {width}, not {count}.")
        index = self.vector.abs().topk(count, dim=1).indices
        owner = torch.arange(layers).repeat_interleave(count)
        return Units(owner, index.reshape(-1), site=self.site, model=self.model)

    def identity(self) -> dict[str, Any]:
        """JSON-able content, equal exactly when the direction is."""
        return {
            "direction": digest(self.vector, self.mean, self.gain),
            "site": self.site,
        }

    def check(self, lm: LanguageModel) -> None:
        """Raise :class:`InputError` if it is of another model or does not fit the site."""
        if self.site == "moe.router" or lm.sites[self.site].inner is not None:
            raise InputError(
                f"{self.site!r} has no direction, each token runs some experts only: take 'resid'."
            )
        width = lm.sites[self.site].width
        if tuple(self.vector.shape) != (lm.layers, width):
            raise InputError(
                f"direction {self.name!r} is of {self.vector.shape[0]} layers of "
                f"{self.vector.shape[1]}, {self.site!r} of {lm.name} has {lm.layers} of {width}: "
                "find it on statistics of this model."
            )
        if self.model and not same_model(self.model, lm.fingerprint):
            raise InputError(
                f"direction {self.name!r} was found in another model than {lm.name!r}: find it on "
                "statistics of this model."
            )


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions of several languages, found in one way.

    Attributes:
        by_language: Language to its direction.
        method: One of :data:`METHODS`.
        parameters: Settings of the method, and what it was found on.
    """

    by_language: Mapping[str, Direction]
    method: str
    parameters: Mapping[str, Any]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that have one."""
        return tuple(self.by_language)

    def __getitem__(self, language: str) -> Direction:
        """A language's direction.

        Raises:
            InputError: If it has none.
        """
        if language not in self.by_language:
            raise unknown("language", language, self.languages, "among the directions")
        return self.by_language[language]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_language)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file; where it came from stands in its header."""
        tensors: dict[str, Tensor] = {}
        for lang, item in self.by_language.items():
            for part in ("vector", "target", "gain", "mean"):
                tensors[f"{lang}/{part}"] = getattr(item, part)
        first = next(iter(self.by_language.values()))
        about = {
            "directions": _FORMAT,
            "languages": list(self.by_language),
            "names": [item.name for item in self.by_language.values()],
            "site": first.site,
            "model": None if first.model is None else dict(first.model),
            "method": self.method,
            "parameters": dict(self.parameters),
        }
        write_tensors(path, tensors, about)

    @classmethod
    def load(cls, path: str | Path) -> Directions:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: If there is no such file.
            ArtifactError: If it is damaged or holds something else.
        """
        tensors, about = read_tensors(path)
        if about.get("directions") != _FORMAT:
            raise ArtifactError(f"{str(path)!r} holds no directions: give a file that save wrote.")
        found = {
            lang: Direction(
                **{
                    part: tensors[f"{lang}/{part}"] for part in ("vector", "mean", "target", "gain")
                },
                site=about["site"],
                model=about["model"],
                name=name,
            )
            for lang, name in zip(about["languages"], about["names"], strict=True)
        }
        return cls(found, about["method"], about["parameters"])


def find_directions(
    statistics: Statistics,
    method: str = "difference",
    *,
    languages: Sequence[str] | None = None,
    source: str | None = None,
    beta: float = 1.0,
) -> Directions:
    """Each language's direction from statistics, such as those of ``collect(..., site="resid")``.

    Args:
        statistics: Of two languages or more; of a site with units (``resid``, ``mlp.out`` ...);
            with token rows for all methods but ``difference``.
        method: One of :data:`METHODS`.
        languages: The languages that get one; None: all but the source.
        source: The language to lead away from; None: all others.
        beta: How much of the source's mean is taken off, by ``difference``.

    Raises:
        InputError: If the method or a language is unknown, there is one language only, or rows are
            missing.
    """
    if method not in METHODS:
        raise unknown("method for directions", method, METHODS)
    for lang in (*(languages or ()), *(() if source is None else (source,))):
        if lang not in statistics.languages:
            raise unknown("language", lang, statistics.languages, "of the statistics")
    if beta != 1.0 and method != "difference":
        raise InputError(f"beta is of the method 'difference', not of {method!r}: leave it out.")
    if not math.isfinite(beta):
        raise InputError(f"beta must be a finite number, not {beta}.")
    wanted = [lang for lang in languages or statistics.languages if lang != source]
    means = {lang: statistics.mean(lang).double() for lang in statistics.languages}
    if len(means) < 2 or not wanted:
        raise InputError("a direction leads from one language to another: collect two or more.")
    common = torch.stack(list(means.values())).mean(0)
    rows = None if method == "difference" else BalancedRows(statistics)
    found = {}
    with track(f"directions by {method}", len(wanted), "languages") as bar:
        for lang in wanted:
            others = [source] if source else [other for other in means if other != lang]
            away = torch.stack([means[other] for other in others]).mean(0)
            vector = means[lang] - beta * away
            if rows is not None:
                gap = means[lang] - away
                vector = torch.stack(
                    [
                        _fitted(method, *_pair(rows, lang, others, layer), gap[layer])
                        for layer in range(len(gap))
                    ]
                )
            found[lang] = Direction(
                vector=vector.float(),
                mean=common.float(),
                target=means[lang].float(),
                gain=torch.ones(len(common)),
                site=statistics.site,
                model=statistics.model,
                name=f"{method} {source or 'others'} to {lang}",
            )
            bar.advance()
    parameters = {"source": source, "beta": beta, "tokens": dict(statistics.tokens)}
    return Directions(found, method, parameters)


def _pair(
    rows: BalancedRows, target: str, others: Sequence[str], layer: int
) -> tuple[Tensor, Tensor]:
    """Rows of target and source, about as many of each, every source language alike."""
    each = max(1, rows.size // len(others))
    return (
        rows.layer(target, layer).double(),
        torch.cat([rows.layer(other, layer)[:each].double() for other in others]),
    )


def _fitted(method: str, own: Tensor, other: Tensor, gap: Tensor) -> Tensor:
    """One layer's direction, float64 (width,), to the target's side, as long as ``gap``."""
    both = torch.cat([own, other])
    if method == "pca":
        found = torch.linalg.svd(both - both.mean(0), full_matrices=False).Vh[0]
    elif method == "lda":
        found = torch.linalg.solve(pooled_covariance({"own": own, "other": other}), gap)
    else:
        found = _probe(own, other)
    side = found @ (own.mean(0) - other.mean(0))
    found = torch.nn.functional.normalize(found, dim=0, eps=1e-30)
    length = float(torch.linalg.vector_norm(gap))
    signed: Tensor = found * (-length if side < 0 else length)
    return signed


def _probe(own: Tensor, other: Tensor) -> Tensor:
    from sklearn.linear_model import LogisticRegression

    both = torch.cat([own, other])
    spread = both.std(0).clamp_min(1e-6 * float(both.std() or 1.0) or 1e-12)
    labels = [1] * len(own) + [0] * len(other)
    model = LogisticRegression(max_iter=1000).fit(((both - both.mean(0)) / spread).numpy(), labels)
    weights: Tensor = torch.from_numpy(model.coef_[0]).double() / spread
    return weights


def separation(
    statistics: Statistics, direction: Direction, language: str, source: str | None = None
) -> Tensor:
    """How far a language lies from others along a direction, float64 (layers,).

    The difference of the means of x . v / |v| over rows of the language and of the others (or of
    the source), in standard deviations within the two (pooled).

    Args:
        statistics: With token rows.
        direction: The direction.
        language: The language.
        source: The language it is held against; None for all others, each alike.

    Raises:
        InputError: If there are no rows of this site.
    """
    _of_site(statistics, direction.site)
    rows = BalancedRows(statistics)
    others = [source] if source else [other for other in rows.languages if other != language]
    unit = direction.unit().vector.double()
    found = []
    for layer in range(len(unit)):
        own, other = (part @ unit[layer] for part in _pair(rows, language, others, layer))
        within = (own.var(correction=0) * len(own) + other.var(correction=0) * len(other)) / (
            len(own) + len(other)
        )
        found.append((own.mean() - other.mean()) / within.sqrt().clamp_min(1e-30))
    return torch.stack(found)


def _of_site(statistics: Statistics, site: str) -> None:
    if statistics.site != site:
        raise InputError(
            f"the statistics are of {statistics.site!r}, the direction of {site!r}: collect that."
        )


def _spread(statistics: Statistics, unit: Tensor, about: Tensor) -> Tensor:
    """Root mean square of (x - about) . unit over rows, each language alike; float64 (layers,)."""
    rows = BalancedRows(statistics)
    found = []
    for layer in range(len(unit)):
        squares = [
            ((rows.layer(lang, layer).double() - about[layer].double()) @ unit[layer].double())
            .square()
            .mean()
            for lang in rows.languages
        ]
        found.append(torch.stack(squares).mean().sqrt())
    return torch.stack(found)
