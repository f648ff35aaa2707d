"""Statistics: per unit and language, what its activations look like."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from langneurons.artifacts import digest
from langneurons.display import Displayed
from langneurons.errors import InputError, unknown
from langneurons.models.fingerprint import same_model
from langneurons.statistics.language import LanguageStatistics, quantiles_of, refuse_unlike
from langneurons.statistics.moments import Moments
from langneurons.statistics.routed import Routing, of_routed, unpack, unpack_expert
from langneurons.statistics.sample import RowSample
from langneurons.statistics.storage import find_languages, load_language, save_language

Reading = Literal["all", "routed"]

LEAST_ROUTED = 30
"""Routed tokens below which nothing is said of an expert's units: a share is then off by 0.09."""

_DENSE_BYTES = 1 << 31


class Statistics(Displayed):
    """Per unit and language: counts, moments, extremes, and a sample of token rows.

    Immutable by convention; made by :func:`langneurons.collect`, :meth:`load` or
    :meth:`from_counts`. L layers, U units a layer.

    Args:
        site: Site the activations were read at.
        shape: (L, U).
        model: Fingerprint of the model, None where unknown.
        by_language: Statistics of each language.
        reading: What shares and means are of, at ``moe.act`` and its like: see :meth:`read_as`.
        least: Fewest routed tokens, see :meth:`read_as`.
    """

    def __init__(
        self,
        site: str,
        shape: tuple[int, int],
        model: Mapping[str, Any] | None,
        by_language: Mapping[str, LanguageStatistics],
        reading: Reading = "all",
        least: int = LEAST_ROUTED,
    ) -> None:
        self.site = site
        self.reading: Reading = reading
        self._least = least
        self.shape = (int(shape[0]), int(shape[1]))
        self.model = dict(model) if model is not None else None
        self.by_language = dict(by_language)
        self._quantiles: dict[tuple[str, float], Tensor] = {}

    def __repr__(self) -> str:
        tokens = ", ".join(f"{lang} {count:,}" for lang, count in self.tokens.items())
        of = "" if self.reading == "all" else ", of routed tokens"
        return f"Statistics({self.site}, {self.shape[0]} x {self.shape[1]}, tokens: {tokens}{of})"

    def _like(self, shape: tuple[int, int], parts: Mapping[str, LanguageStatistics]) -> Statistics:
        return Statistics(self.site, shape, self.model, parts, self.reading, self._least)

    def read_as(self, reading: Reading, least: int = LEAST_ROUTED) -> Statistics:
        """The same statistics of units inside experts, read in one of two ways.

        ``"all"`` (the default everywhere): shares, means and quantiles are of all tokens, a unit
        being 0 where its expert does not run, as it adds nothing there. Defined for every unit and
        language, and the same as at any other site. ``"routed"``: of the tokens routed to the
        unit's expert alone: what the unit does whatever the router does.

        Args:
            reading: Which.
            least: Of routed tokens: what a unit does is NaN in a language in which fewer were
                routed to its expert.

        Raises:
            InputError: If these are no statistics of units inside experts.
        """
        if reading not in get_args(Reading):
            raise unknown("reading", reading, get_args(Reading))
        if reading == "routed" and any(i.routing is None for i in self.by_language.values()):
            raise InputError(
                f"statistics of {self.site!r} do not say which tokens were routed: read them as "
                "'all'; statistics collected at 'moe.act', 'moe.pre' or 'moe.out' do."
            )
        return Statistics(self.site, self.shape, self.model, self.by_language, reading, least)

    def routed_tokens(self, lang: str) -> Tensor:
        """Tokens routed to each expert: int64 (L, E).

        Raises:
            InputError: If these are no statistics of units inside experts.
        """
        return self._routing(lang).tokens

    def _routing(self, lang: str) -> Routing:
        routing = self[lang].routing
        if routing is None:
            raise InputError(
                f"statistics of {self.site!r} do not say which tokens were routed: collect at "
                "'moe.act', 'moe.pre' or 'moe.out'."
            )
        return routing

    def _where_known(self, lang: str, values: Tensor) -> Tensor:
        """NaN where too few tokens were routed for a reading of these."""
        return values.masked_fill(self._routing(lang).by_unit() < self._least, torch.nan)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, in the order they were given."""
        return tuple(self.by_language)

    @property
    def tokens(self) -> dict[str, int]:
        """Counted tokens of each language."""
        return {lang: item.tokens for lang, item in self.by_language.items()}

    @property
    def count_positive(self) -> dict[str, Tensor]:
        """Per language, tokens with an activation above 0: int64 (L, U)."""
        return {lang: item.count for lang, item in self.by_language.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content, whatever the order of the languages."""
        parts = [(lang, self.by_language[lang].fingerprint) for lang in sorted(self.by_language)]
        read = [] if self.reading == "all" else [self.reading, self._least]
        return digest("langneurons.statistics.1", self.site, list(self.shape), parts, *read)

    def __getitem__(self, lang: str) -> LanguageStatistics:
        """Statistics of one language.

        Raises:
            InputError: If there are none.
        """
        if lang not in self.by_language:
            raise unknown("language", lang, self.by_language)
        return self.by_language[lang]

    def has(self, name: str) -> bool:
        """Whether every language has ``"moments"``, ``"rows"`` or ``"quantiles"``.

        Raises:
            InputError: If there is no part of that name.
        """
        items = self.by_language.values()
        if name == "moments":
            return all(item.moments is not None for item in items)
        if name == "rows":
            return all(item.sample is not None for item in items)
        if name == "quantiles":
            return all(
                item.sample is not None or item.batch_quantiles is not None for item in items
            )
        raise unknown("part of statistics", name, ("moments", "rows", "quantiles"))

    def prob_positive(self, lang: str) -> Tensor:
        """Share of tokens (see :meth:`read_as`) with an activation above 0: float64 (L, U)."""
        item = self[lang]
        if self.reading == "routed":
            return self._where_known(lang, item.count / self._routing(lang).by_unit())
        return item.count.double() / item.tokens

    def _moments(self, lang: str, what: str) -> Moments:
        moments = self[lang].moments
        if moments is None:
            raise InputError(
                f"the {what} of {lang!r} is not known: these statistics hold counts only. "
                "Collect statistics from text."
            )
        return moments

    def mean(self, lang: str) -> Tensor:
        """Mean activation: float64 (L, U)."""
        moments = self._moments(lang, "mean")
        if self.reading == "routed":
            return self._where_known(lang, of_routed(moments, self._routing(lang))[0])
        return moments.mean

    def std(self, lang: str) -> Tensor:
        """Standard deviation over tokens (divided by n): float64 (L, U)."""
        moments = self._moments(lang, "standard deviation")
        if self.reading == "routed":
            return self._where_known(lang, of_routed(moments, self._routing(lang))[1])
        return (moments.squares / moments.tokens).sqrt()

    def abs_mean(self, lang: str) -> Tensor:
        """Mean absolute activation: float64 (L, U)."""
        moments = self._moments(lang, "absolute mean")
        if self.reading == "routed":
            return self._where_known(lang, moments.absolute / self._routing(lang).by_unit())
        return moments.absolute / moments.tokens

    def minimum(self, lang: str) -> Tensor:
        """Smallest activation: float64 (L, U)."""
        if self.reading == "routed":
            return self._where_known(lang, self._routing(lang).minimum)
        return self._moments(lang, "minimum").minimum

    def maximum(self, lang: str) -> Tensor:
        """Largest activation: float64 (L, U)."""
        if self.reading == "routed":
            return self._where_known(lang, self._routing(lang).maximum)
        return self._moments(lang, "maximum").maximum

    def quantile(self, lang: str, p: float | Sequence[float]) -> Tensor:
        """Quantiles, interpolated linearly between the kept rows; 0 and 1 are the exact extremes.

        With statistics of the ``paper`` protocol: the mean over batches of per-batch quantiles.

        Args:
            lang: Language.
            p: Probability in [0, 1], or several.

        Returns:
            float64 (L, U), or (P, L, U) for a sequence.

        Raises:
            InputError: If p is out of range, there is no sample, or (``paper``) p is not recorded.
        """
        wanted = [float(p)] if isinstance(p, (int, float)) else [float(item) for item in p]
        for item in wanted:
            if not 0 <= item <= 1:
                raise InputError(f"a quantile's probability lies between 0 and 1, not {item:g}.")
        missing = [item for item in wanted if (lang, item) not in self._quantiles]
        if missing:
            self._quantiles.update(
                ((lang, item), values)
                for item, values in zip(missing, self._compute(lang, missing), strict=True)
            )
        found = [self._quantiles[lang, item] for item in wanted]
        return found[0] if isinstance(p, (int, float)) else torch.stack(found)

    def _compute(self, lang: str, wanted: list[float]) -> list[Tensor]:
        item = self[lang]
        if item.batch_quantiles is not None:
            known = item.batch_quantiles.probabilities
            for p in wanted:
                if p not in known:
                    raise InputError(
                        f"the paper protocol records no quantile {p:g} of {lang!r}; it has "
                        f"{', '.join(f'{q:g}' for q in known)}."
                    )
            return [item.batch_quantiles.values[known.index(p)] for p in wanted]
        if item.sample is None or len(item.sample) == 0:
            raise InputError(
                f"quantiles of {lang!r} are not known: these statistics hold no token rows. "
                "Collect statistics from text with rows above 0."
            )
        result = torch.empty((len(wanted), *self.shape), dtype=torch.float64)
        for layer in range(self.shape[0]):
            rows = item.sample.rows.layer(layer)
            if item.routing is None:
                result[:, layer] = quantiles_of(rows, wanted)
            else:
                result[:, layer] = self._by_expert(rows, item.routing.inner, wanted)
        if self.reading == "routed":
            result = self._where_known(lang, result)
        for number, p in enumerate(wanted):
            if item.moments is not None and p in (0.0, 1.0):
                result[number] = self.minimum(lang) if p == 0 else self.maximum(lang)
        return list(result)

    def _by_expert(self, rows: Tensor, inner: int, wanted: Sequence[float]) -> Tensor:
        """Quantiles (P, U) of packed rows, one expert after another; NaN where none was routed."""
        found = torch.full((len(wanted), self.shape[1]), torch.nan, dtype=torch.float64)
        for expert in range(self.shape[1] // inner):
            tokens, values = unpack_expert(rows, inner, expert)
            if self.reading == "all":
                whole = values.new_zeros((len(rows), inner))
                whole[tokens] = values
                values = whole
            if len(values):
                units = slice(expert * inner, (expert + 1) * inner)
                found[:, units] = quantiles_of(values, wanted)
        return found

    def _sample(self, lang: str) -> RowSample:
        sample = self[lang].sample
        if sample is None:
            raise InputError(
                f"token rows of {lang!r} are not known: these statistics hold none. "
                "Collect statistics from text with rows above 0."
            )
        return sample

    def rows(self, lang: str, layer: int) -> Tensor:
        """Sampled token rows of one layer: (n, U), the same n tokens in every layer.

        Rows come in ascending order of their keys, so that the first m are a sample of m tokens.
        Units inside experts are 0 where their expert did not run; see :meth:`routed_rows`.

        Raises:
            InputError: If the layer does not exist, no rows were kept, or units inside experts are
                read on routed tokens alone or are too many to be spread out.
        """
        rows = self._rows(lang, layer)
        routing = self[lang].routing
        if routing is None:
            return rows
        size = len(rows) * self.shape[1] * rows.element_size()
        if self.reading == "routed" or size > _DENSE_BYTES:
            why = "of routed tokens differ from expert to expert"
            if self.reading == "all":
                why = f"of all experts take {size / 2**30:.1f} GiB a layer"
            raise InputError(
                f"token rows {why}: use a method that reads counts or means, routed_rows for one "
                "expert, or (read as 'all') fewer rows."
            )
        token, expert, values = unpack(rows, routing.inner)
        whole = values.new_zeros((len(rows), routing.tokens.shape[1], routing.inner))
        whole[token, expert] = values
        return whole.flatten(1)

    def _rows(self, lang: str, layer: int) -> Tensor:
        if not 0 <= layer < self.shape[0]:
            raise InputError(f"no layer {layer}: there are layers 0 to {self.shape[0] - 1}.")
        return self._sample(lang).rows.layer(layer)

    def routed_rows(self, lang: str, layer: int, expert: int) -> tuple[Tensor, Tensor]:
        """Of the sampled tokens those routed to one expert, and its units there.

        Returns:
            Their numbers among the sampled tokens, int64 (m,), ascending, and values (m, inner).

        Raises:
            InputError: If layer or expert does not exist, no rows were kept, or these are no
                statistics of units inside experts.
        """
        routing = self._routing(lang)
        if not 0 <= expert < routing.tokens.shape[1]:
            raise InputError(
                f"no expert {expert}: there are experts 0 to {routing.tokens.shape[1] - 1}."
            )
        return unpack_expert(self._rows(lang, layer), routing.inner, expert)

    def keys(self, lang: str) -> Tensor:
        """Keys of the sampled tokens, ascending: int64 (n,)."""
        return self._sample(lang).keys

    def row_documents(self, lang: str) -> Tensor:
        """Content key of each sampled token's document, see ``data.document_key``: int64 (n,)."""
        return self._sample(lang).documents

    def row_positions(self, lang: str) -> Tensor:
        """Offset of each sampled token in its document: int64 (n,)."""
        return self._sample(lang).positions

    def row_tokens(self, lang: str) -> Tensor:
        """Id of each sampled token: int64 (n,)."""
        return self._sample(lang).token_ids

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Layers that have the site: all but those in which no unit was ever other than 0.

        In layers without it (dense layers of a mixture, state-space layers of a hybrid) all is 0.
        Counts alone tell only at ``moe.router``, where every token goes to some expert.
        """
        used = torch.zeros(self.shape[0], dtype=torch.bool)
        for item in self.by_language.values():
            if item.moments is not None:
                used |= (item.moments.absolute != 0).any(1)
            elif self.site == "moe.router":
                used |= (item.count != 0).any(1)
            else:
                used[:] = True
        return tuple(used.nonzero()[:, 0].tolist())

    def in_layers(self, layers: Sequence[int]) -> Statistics:
        """Statistics of some of the layers, numbered from 0 in the order given."""
        index = torch.tensor(layers, dtype=torch.int64)
        parts = {lang: item.in_layers(index) for lang, item in self.by_language.items()}
        return self._like((len(layers), self.shape[1]), parts)

    def select(self, languages: Iterable[str]) -> Statistics:
        """Statistics of some of the languages, in the order given.

        Raises:
            InputError: If one is not there.
        """
        return self._like(self.shape, {lang: self[lang] for lang in languages})

    def merge(self, other: Statistics) -> Statistics:
        """Statistics of the texts of both: more text of the same languages, or more languages.

        Counts, tokens and extremes are exact for any split of the text; means and variances agree
        up to float64 rounding; the sample is the bottom-k sample of all tokens.

        Raises:
            InputError: If site, shape, model or reading differ, both hold the same text, they were
                collected with other options, or one lacks a part that the other has.
        """
        for what, mine, theirs in (
            ("sites", self.site, other.site),
            ("shapes", self.shape, other.shape),
            ("readings", self.reading, other.reading),
            ("fewest routed tokens", self._least, other._least),
        ):
            if mine != theirs:
                raise InputError(
                    f"statistics of different {what} do not merge ({mine}, {theirs}): take alike."
                )
        if not same_model(self.model, other.model):
            raise InputError("statistics of different models do not merge: collect on one.")
        merged = dict(self.by_language)
        first = next(iter(self.by_language.values()), None)
        for lang, item in other.by_language.items():
            if first is not None and lang not in merged:
                refuse_unlike(first, item, f"statistics of {self.languages[0]!r} and {lang!r}")
            merged[lang] = merged[lang].merge(item, lang) if lang in merged else item
        joined = self._like(self.shape, merged)
        joined.model = joined.model or other.model
        return joined

    def save(self, directory: str | Path) -> None:
        """Write one ``<lang>.safetensors`` a language, token rows in ``<lang>.rows/`` beside it.

        What was counted is written; a reading is not (:meth:`read_as`): say it again after loading.

        Raises:
            InputError: If the folder cannot be written.
        """
        for lang in self.by_language:
            save_language(self, lang, Path(directory))

    @classmethod
    def load(cls, path: str | Path, languages: Sequence[str] | None = None) -> Statistics:
        """Read statistics; rows are read only when asked for.

        Args:
            path: Folder of ``<lang>.safetensors`` files, or one such file.
            languages: Read these, in this order; None for all, sorted by name.

        Raises:
            InputError: If there are none, or they belong to different models, sites or shapes.
            ArtifactError: If a file is damaged.
        """
        merged: Statistics | None = None
        for file in find_languages(Path(path), languages):
            one = load_language(file)
            statistics = cls(one.site, one.shape, one.model, {one.language: one.item})
            try:
                merged = statistics if merged is None else merged.merge(statistics)
            except InputError as error:
                raise InputError(f"{str(file)!r} does not belong to the others: {error}") from error
        assert merged is not None
        return merged if languages is None else merged.select(languages)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, Tensor],
        tokens: Mapping[str, int],
        model: Mapping[str, Any] | None = None,
        site: str = "mlp.act",
    ) -> Statistics:
        """Statistics that hold counts only, such as published ones.

        Args:
            counts: Language to tokens with an activation above 0, integers (L, U).
            tokens: Language to tokens seen.
            model: Fingerprint of the model, where known.
            site: Site they were counted at.

        Returns:
            The statistics. A count above the number of tokens (it occurs in published files)
            gives a warning, since a probability is then above 1.

        Raises:
            InputError: If languages, shapes or values do not fit together.
        """
        if not counts:
            raise InputError("no counts: give at least one language.")
        items: dict[str, LanguageStatistics] = {}
        shape: tuple[int, ...] | None = None
        for lang, count in counts.items():
            tensor = torch.as_tensor(count)
            if tensor.ndim != 2:
                raise InputError(
                    f"counts of {lang!r} must be (layers, units), not {tensor.ndim}-d."
                )
            shape = shape or tuple(tensor.shape)
            if tuple(tensor.shape) != shape:
                raise InputError(
                    f"counts of {lang!r} are {tuple(tensor.shape)}, those before {shape}: give "
                    "counts of one model and site."
                )
            if tensor.is_floating_point() and bool((tensor != tensor.round()).any()):
                raise InputError(f"counts of {lang!r} are no whole numbers: give counts.")
            if bool((tensor < 0).any()):
                raise InputError(f"counts of {lang!r} must not be negative.")
            if lang not in tokens or int(tokens[lang]) < 1:
                raise InputError(f"tokens of {lang!r} are missing or not positive: give them.")
            seen = int(tokens[lang])
            above = int((tensor > seen).sum())
            if above:
                warnings.warn(
                    f"{above} counts of {lang!r} are above its {seen} tokens: their probabilities "
                    "are above 1.",
                    stacklevel=2,
                )
            integers = tensor.to(torch.int64)
            source = digest("counts", seen, integers)
            items[lang] = LanguageStatistics(seen, integers, texts=(source,))
        assert shape is not None
        return cls(site, (shape[0], shape[1]), model, items)
