"""What is known of one language: counts, moments, a sample of token rows, quantiles of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langneurons.artifacts import digest
from langneurons.errors import InputError
from langneurons.statistics.moments import Moments
from langneurons.statistics.routed import Routing
from langneurons.statistics.sample import RowSample, RowSource

_QUANTILE_CHUNK = 1 << 24  # elements turned into float32 at once


@dataclass(frozen=True, eq=False)
class BatchQuantiles:
    """Means over batches of per-batch quantiles, as the paper's released code has them.

    Attributes:
        probabilities: The P probabilities.
        values: float64 (P, L, U), mean over batches.
        batches: Number of batches.
    """

    probabilities: tuple[float, ...]
    values: Tensor
    batches: int

    def merge(self, other: BatchQuantiles) -> BatchQuantiles:
        """Mean over the batches of both.

        Raises:
            InputError: If the probabilities differ.
        """
        if self.probabilities != other.probabilities:
            raise InputError(
                "statistics with quantiles of different probabilities do not merge: collect alike."
            )
        batches = self.batches + other.batches
        total = self.values * self.batches + other.values * other.batches
        return BatchQuantiles(self.probabilities, total / batches, batches)


@dataclass(frozen=True, eq=False)
class LanguageStatistics:
    """Statistics of one language.

    Attributes:
        tokens: Counted tokens.
        count: int64 (L, U), tokens with an activation above 0.
        moments: Moments (L, U), None where only counts are known.
        sample: Sample of token rows, None where there is none.
        batch_quantiles: Set by the ``paper`` protocol only.
        routing: Of units inside experts, what is known of the tokens routed to them; else None.
        texts: Fingerprint of each text that went in, sorted.
        options: How the text was cut and sampled.
        key: Content key of the job that made them; "" for merged or imported ones.
    """

    tokens: int
    count: Tensor
    moments: Moments | None = None
    sample: RowSample | None = None
    batch_quantiles: BatchQuantiles | None = None
    routing: Routing | None = None
    texts: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content (rows by their keys)."""
        parts: list[object] = [self.tokens, self.count]
        if self.moments is not None:
            parts += list(self.moments.tensors().values())
        if self.routing is not None:
            parts += list(self.routing.tensors().values())
        if self.sample is not None:
            parts.append(self.sample.keys)
        if self.batch_quantiles is not None:
            parts.append(self.batch_quantiles.values)
        return digest(*parts)

    def in_layers(self, index: Tensor) -> LanguageStatistics:
        """Statistics of some layers.

        Args:
            index: int64 (n,), their numbers.
        """
        moments, sample, quantiles = self.moments, self.sample, self.batch_quantiles
        if moments is not None:
            parts = {name: tensor[index] for name, tensor in moments.tensors().items()}
            moments = Moments.from_tensors(moments.tokens, parts)
        if sample is not None:
            sample = replace(sample, rows=_LayerRows(sample.rows, index.tolist()))
        if quantiles is not None:
            quantiles = replace(quantiles, values=quantiles.values[:, index])
        return replace(
            self, count=self.count[index], moments=moments, sample=sample,
            batch_quantiles=quantiles,
            routing=None if self.routing is None else self.routing.layer(index),
        )  # fmt: skip

    def merge(self, other: LanguageStatistics, language: str) -> LanguageStatistics:
        """Statistics of both texts together.

        Raises:
            InputError: If both hold the same text, were collected differently, or one lacks a part
                that the other has.
        """
        twice = set(self.texts) & set(other.texts)
        if twice:
            raise InputError(
                f"both statistics of {language!r} hold the same text ({min(twice)[:12]}): "
                "merging would count it twice; merge statistics of different text."
            )
        refuse_unlike(self, other, f"statistics of {language!r}", _ALIKE_WITHIN)
        for part, name in _PARTS.items():
            if (getattr(self, part) is None) != (getattr(other, part) is None):
                raise InputError(
                    f"one of two statistics of {language!r} has no {name}: merging would lose "
                    "those of the other; collect both alike."
                )
        moments = sample = quantiles = routing = None
        if self.moments is not None and other.moments is not None:
            moments = self.moments.merge(other.moments)
        if self.sample is not None and other.sample is not None:
            sample = self.sample.merge(other.sample)
        if self.batch_quantiles is not None and other.batch_quantiles is not None:
            quantiles = self.batch_quantiles.merge(other.batch_quantiles)
        if self.routing is not None and other.routing is not None:
            routing = self.routing.merge(other.routing)
        shared = {
            name: value for name, value in self.options.items() if other.options.get(name) == value
        }
        if sample is not None and "rows" in self.options:
            shared["rows"] = sample.limit
        return LanguageStatistics(
            tokens=self.tokens + other.tokens,
            count=self.count + other.count,
            moments=moments,
            sample=sample,
            batch_quantiles=quantiles,
            routing=routing,
            texts=tuple(sorted({*self.texts, *other.texts})),
            options=shared,
        )


class _LayerRows:
    """Rows of some layers of another source."""

    def __init__(self, rows: RowSource, layers: Sequence[int]) -> None:
        self._rows, self._layers = rows, layers

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units)."""
        return self._rows.layer(self._layers[index])


_PARTS = {
    "moments": "means and deviations",
    "sample": "token rows",
    "batch_quantiles": "quantiles of batches",
    "routing": "routed tokens",
}
_ALIKE_BETWEEN = ("dtype", "state", "block", "pack", "lead", "special", "prefix_tokens",
                  "generated", "temperature", "head", "ends")  # fmt: skip
"""Options in which languages must be alike to be compared."""

_ALIKE_WITHIN = (*_ALIKE_BETWEEN, "seed", "quantiles", "batch_size")
"""Options in which two texts of one language must be alike to be added."""

_WORDS = {
    "state": "adapters, weights or hooks of the model",
    "lead": "beginning of blocks",
    "special": "special tokens",
    "head": "head of the model that writes",
    "ends": "tokens that end a text",
}


def refuse_unlike(
    one: LanguageStatistics, other: LanguageStatistics, what: str, names: Sequence[str] = ()
) -> None:
    """Raise :class:`InputError` if two statistics were collected with different options.

    Args:
        one: The first.
        other: The second. Imported counts, which know of no options, are like any.
        what: What they are, for the message.
        names: Options to compare; those that languages must share where empty.
    """
    if not one.options or not other.options:
        return
    unlike = [
        name for name in names or _ALIKE_BETWEEN if one.options.get(name) != other.options.get(name)
    ]
    if unlike:
        told = ", ".join(
            _WORDS[name]
            if name in _WORDS
            else f"{name} {one.options.get(name)} and {other.options.get(name)}"
            for name in unlike
        )
        raise InputError(
            f"{what} were collected differently ({told}) and do not merge: collect both alike."
        )


def quantiles_of(rows: Tensor, probabilities: Sequence[float]) -> Tensor:
    """Linearly interpolated quantiles of each column.

    Args:
        rows: (n, units), any floating dtype; n at least 1.
        probabilities: P values in [0, 1].

    Returns:
        float64 (P, units).
    """
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    step = max(1, _QUANTILE_CHUNK // max(1, len(rows)))
    parts = []
    for start in range(0, rows.shape[1], step):
        columns = rows[:, start : start + step].T.to(dtype).contiguous().numpy()
        found = np.quantile(columns, probabilities, axis=1, overwrite_input=True)
        parts.append(torch.from_numpy(np.asarray(found, dtype=np.float64)))
    return torch.cat(parts, dim=1)
