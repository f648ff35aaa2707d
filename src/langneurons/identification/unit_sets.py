"""Units by language as a plain value: combined, cut and selected, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from langneurons.artifacts import digest
from langneurons.errors import InputError
from langneurons.identification.units import Units, same_coordinates
from langneurons.models.fingerprint import same_model

if TYPE_CHECKING:
    import pandas as pd


class UnitSets(Mapping[str, Units]):
    """What a :class:`~langneurons.identification.NeuronSet` is as a plain value, and its algebra.

    Arguments and errors are those of a neuron set.
    """

    def __init__(
        self,
        units: Mapping[str, Units],
        shape: tuple[int, int],
        *,
        site: str = "mlp.act",
        method: str = "given",
        parameters: Mapping[str, Any] | None = None,
        model: Mapping[str, Any] | None = None,
        statistics: str | None = None,
        scores: Mapping[str, Tensor] | None = None,
        apart: Units | None = None,
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.site = site
        self.method = method
        self.parameters = dict(parameters or {})
        self.model = dict(model) if model is not None else None
        origin = Units([], [], site=self.site, model=self.model)
        self._units = {language: origin | item for language, item in units.items()}
        self.apart = origin if apart is None else origin | apart
        self.statistics = statistics
        self.scores = {
            language: torch.as_tensor(score, dtype=torch.float64)
            for language, score in (scores or {}).items()
        }
        for item in (*self._units.values(), self.apart):
            item.check(self.shape)
        for language, score in self.scores.items():
            if language not in self._units or score.shape != (len(self._units[language]),):
                raise InputError(
                    f"scores of language {language!r} do not fit its units: give one a unit."
                )

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, in their order."""
        return tuple(self._units)

    def __getitem__(self, language: str) -> Units:
        if language not in self._units:
            raise LanguageMissingError(
                f"no neurons for language {language!r}: this set holds {', '.join(self._units)}; "
                "choose one of them."
            )
        return self._units[language]

    def __contains__(self, language: object) -> bool:
        return language in self._units

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def __eq__(self, other: object) -> bool:
        """Equal units in equal languages of equally shaped models; the origin may differ."""
        if not isinstance(other, UnitSets):
            return NotImplemented
        return self.shape == other.shape and self.site == other.site and self._units == other._units

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{language} {len(units)}" for language, units in self._units.items())
        shape = f"{self.shape[0]}x{self.shape[1]}"
        return f"{type(self).__name__}({self.method}, {self.site}, {shape}: {sizes})"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content: units, languages, site and shape."""
        return digest(
            self.site,
            list(self.shape),
            *(part for name, u in self._units.items() for part in (name, u.layers, u.indices)),
        )

    def _derive(self, units: Mapping[str, Units], note: Mapping[str, Any]) -> Self:
        """The same origin with other units; scores are kept where a unit is one of the old."""
        return type(self)(
            units,
            self.shape,
            site=self.site,
            method=self.method,
            parameters={**self.parameters, **note},
            model=self.model,
            statistics=self.statistics,
            scores=self._scores(units),
            apart=self.union() | self.apart,
        )

    def _match(self, other: UnitSets, *, coordinates: bool = False) -> None:
        """Refuse sets whose units are not the same things; see :meth:`overlap`."""
        same = self.site == other.site or (
            coordinates and same_coordinates({self.site, other.site})
        )
        if self.shape != other.shape or not same:
            raise InputError(
                f"sets of different models or sites: {self.shape[0]}x{self.shape[1]} {self.site} "
                f"and {other.shape[0]}x{other.shape[1]} {other.site} have no unit in common: "
                "compare sets of one model and site."
            )

    def _combine(self, other: UnitSets, sign: str) -> Self:
        self._match(other)
        if not same_model(self.model, other.model):
            raise InputError(
                "sets found in different models are not sets of the same units: combine sets of "
                "one model, or compare them by overlap."
            )
        none = Units.empty()
        languages = dict.fromkeys([*self._units, *other._units])
        units = {}
        for language in languages:
            a, b = self._units.get(language, none), other._units.get(language, none)
            units[language] = a | b if sign == "|" else a & b if sign == "&" else a - b
        return type(self)(
            units,
            self.shape,
            site=self.site,
            method=f"({self.method} {sign} {other.method})",
            parameters={"left": self.parameters, "right": other.parameters},
            model=self.model or other.model,
            statistics=self.statistics if self.statistics == other.statistics else None,
            scores=self._scores(units),
            apart=self.union()
            | self.apart
            | (none if sign == "-" else other.union() | other.apart),
        )

    def _scores(self, units: Mapping[str, Units]) -> dict[str, Tensor]:
        """Scores of other units, in the languages where each of them is one of this set's."""
        scores = {}
        for language, new in units.items():
            old = self._units.get(language)
            if language in self.scores and old is not None and bool(new.isin(old).all()):
                scores[language] = self.scores[language][old.isin(new)]
        return scores

    def __or__(self, other: UnitSets) -> Self:
        """Units of either set, language by language."""
        return self._combine(other, "|")

    def __and__(self, other: UnitSets) -> Self:
        """Units of both sets, language by language."""
        return self._combine(other, "&")

    def __sub__(self, other: UnitSets) -> Self:
        """Units of this set only, language by language."""
        return self._combine(other, "-")

    def select(self, languages: Iterable[str]) -> Self:
        """Only the named languages, in the named order."""
        return self._derive({language: self[language] for language in languages}, {})

    def restrict(self, layers: Iterable[int]) -> Self:
        """Only the units in the given layers.

        Raises:
            InputError: If a layer does not exist.
        """
        wanted = sorted(set(layers))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < self.shape[0]:
            raise InputError(
                f"layers {wanted} given, the model has layers 0 to {self.shape[0] - 1}."
            )
        units = {language: item.in_layers(wanted) for language, item in self._units.items()}
        return self._derive(units, {"layers": wanted})

    def at(self, site: str) -> Self:
        """The same units at another site of the same width (``found_at`` says where they were).

        In the paper's protocol units are found before the activation function and overwritten
        after it.
        """
        if self.site == site:
            return self
        return type(self)(
            {language: item.of(site, self.model) for language, item in self._units.items()},
            self.shape,
            site=site,
            method=self.method,
            scores=self.scores,
            parameters={**self.parameters, "found_at": self.site},
            model=self.model,
            statistics=self.statistics,
            apart=self.apart.of(site, self.model),
        )

    def top(self, count: int) -> Self:
        """The ``count`` units of highest score in each language (all, where there are fewer).

        Raises:
            InputError: If a language has no scores.
        """
        units = {}
        for language, item in self._units.items():
            if language not in self.scores and len(item):
                raise InputError(
                    f"no scores for language {language!r}: take a set of a method that ranks units."
                )
            if len(item):
                best = torch.sort(self.scores[language], descending=True, stable=True).indices
                item = item & Units(item.layers[best[:count]], item.indices[best[:count]])
            units[language] = item
        return self._derive(units, {"top_by_score": count})

    def without(self, units: Mapping[str, Units], note: Mapping[str, Any]) -> Self:
        """Leave out some units of each language; ``note`` says in the parameters which.

        Controls of what is left hold none of them: a unit taken out because it does most of the
        damage must not come back as a control.
        """
        none = Units.empty()
        kept = {language: item - units.get(language, none) for language, item in self.items()}
        return self._derive(kept, note)

    def exclusive(self) -> Self:
        """Only the units that belong to a single language."""
        units = {}
        for language, item in self._units.items():
            others = [other for name, other in self._units.items() if name != language]
            units[language] = reduce(lambda left, right: left - right, others, item)
        return self._derive(units, {"exclusive": True})

    def union(self) -> Units:
        """Units of any language."""
        parts = [*self._units.values(), Units.empty()]
        return Units(
            torch.cat([part.layers for part in parts]),
            torch.cat([part.indices for part in parts]),
            site=self.site,
            model=self.model,
        )

    def sizes(self) -> dict[str, int]:
        """Language to its number of units."""
        return {language: len(item) for language, item in self._units.items()}

    def table(self) -> pd.DataFrame:
        """One row per language and unit: columns language, layer, index and, if known, score."""
        import pandas as pd

        parts = []
        for language, item in self._units.items():
            part = pd.DataFrame(
                {
                    "language": language,
                    "layer": item.layers.numpy(),
                    "index": item.indices.numpy(),
                }
            )
            if self.scores:
                score = self.scores.get(language)
                part["score"] = float("nan") if score is None else score.numpy()
            parts.append(part)
        empty = pd.DataFrame({"language": [], "layer": [], "index": []})
        return pd.concat(parts, ignore_index=True) if parts else empty

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-serialisable object (see :func:`from_dict`)."""
        return {
            "format": "langneurons.neurons",
            "version": 1,
            "method": self.method,
            "parameters": self.parameters,
            "site": self.site,
            "shape": list(self.shape),
            "model": self.model,
            "statistics": self.statistics,
            "units": {
                language: [indices.tolist() for indices in item.by_layer(self.shape[0])]
                for language, item in self._units.items()
            },
            "scores": {language: score.tolist() for language, score in self.scores.items()},
            "apart": [indices.tolist() for indices in self.apart.by_layer(self.shape[0])],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """From :meth:`to_dict`'s object.

        Raises:
            InputError: If it is none.
        """
        try:
            if value["format"] != "langneurons.neurons":
                raise InputError(
                    f"not a neuron set (format {value['format']!r}): give one of langneurons."
                )
            if value["version"] != 1:
                raise InputError(
                    f"this neuron set has format version {value['version']}, known is 1: "
                    "upgrade langneurons."
                )
            return cls(
                {language: Units.from_layers(item) for language, item in value["units"].items()},
                (value["shape"][0], value["shape"][1]),
                site=value["site"],
                method=value["method"],
                parameters=value["parameters"],
                model=value["model"],
                statistics=value["statistics"],
                scores={
                    language: torch.tensor(item, dtype=torch.float64)
                    for language, item in value["scores"].items()
                },
                # Files written before controls knew of it have none.
                apart=Units.from_layers(value.get("apart", [])),
            )
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise InputError(
                f"not a neuron set of langneurons ({error!r}): write it again."
            ) from error


class LanguageMissingError(InputError, KeyError):
    """A language is asked for that a neuron set does not hold."""

    def __str__(self) -> str:
        return str(self.args[0])
