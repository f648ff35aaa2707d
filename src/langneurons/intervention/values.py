"""Values to write: constants, statistics of a language, the unit's own value, another unit's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from langneurons.artifacts import digest
from langneurons.errors import InputError, unknown
from langneurons.intervention.modes import Mode as Mode
from langneurons.intervention.modes import Scope as Scope
from langneurons.models.fingerprint import same_model

if TYPE_CHECKING:
    from langneurons.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Value:
    """What to write over a unit, with a short name for tables ("zero", "mean", "P90").

    Build one by the class methods below; :class:`~langneurons.intervention.Intervention` also takes
    a plain number.

    Attributes:
        name: Short name.
        kind: ``tensor`` (fixed numbers), ``clip`` (the unit's own value, kept within a range) or
            ``unit`` (another unit's value at the same token).
        tensor: float32, () or (layers, units); the value, or the lower bound of ``clip``.
        high: float32, () or (layers, units); the upper bound of ``clip``.
        source: (layer, index) of the other unit.
        site: Site whose statistics the numbers are; None where they come from no statistics.
        model: Fingerprint of the model whose statistics they are; None where not known.
    """

    name: str
    kind: Literal["tensor", "clip", "unit"] = "tensor"
    tensor: Tensor | None = None
    high: Tensor | None = None
    source: tuple[int, int] | None = None
    site: str | None = None
    model: Mapping[str, Any] | None = None

    @classmethod
    def constant(cls, number: float) -> Value:
        """One number for every unit; 0 is called "zero".

        Raises:
            InputError: If it is no number.
        """
        if not isinstance(number, int | float) or isinstance(number, bool) or number != number:
            raise InputError(f"a value to write must be a number, not {number!r}.")
        name = "zero" if number == 0 else f"{number:g}"
        return cls(name, tensor=torch.tensor(float(number)))

    @classmethod
    def of(cls, tensor: Tensor, name: str = "given", site: str | None = None) -> Value:
        """Numbers of your own, one per unit of the model.

        Args:
            tensor: Shape (layers, units); of it only the entries of the chosen units are used.
            name: Short name for tables.
            site: Site they were measured at, where that is to be checked.

        Raises:
            InputError: If it is not a (layers, units) tensor of numbers.
        """
        if tensor.ndim != 2:
            raise InputError(
                f"values per unit must have shape (layers, units), not {tuple(tensor.shape)}."
            )
        return cls(name, tensor=tensor.detach().to("cpu", torch.float32), site=site)

    @classmethod
    def mean(cls, statistics: Statistics, language: str) -> Value:
        """The unit's mean in ``language``."""
        return cls._from(statistics, language, "mean", lambda s: s.mean(language))

    @classmethod
    def minimum(cls, statistics: Statistics, language: str) -> Value:
        """The unit's smallest value in ``language``."""
        return cls._from(statistics, language, "min", lambda s: s.minimum(language))

    @classmethod
    def maximum(cls, statistics: Statistics, language: str) -> Value:
        """The unit's largest value in ``language``."""
        return cls._from(statistics, language, "max", lambda s: s.maximum(language))

    @classmethod
    def quantile(cls, statistics: Statistics, language: str, probability: float) -> Value:
        """The unit's quantile in ``language``; 0.9 is called "P90".

        Raises:
            InputError: If ``probability`` is not within 0 to 1.
        """
        if not 0 <= probability <= 1:
            raise InputError(
                f"a quantile needs a probability from 0 to 1, not {probability!r} (0.9 is P90)."
            )

        name = f"P{100 * probability:g}"
        return cls._from(statistics, language, name, lambda s: s.quantile(language, probability))

    @classmethod
    def mean_of_others(cls, statistics: Statistics, language: str) -> Value:
        """The mean over the other languages: each counts the same, however many tokens it has.

        Raises:
            InputError: If the statistics hold no other language.
        """
        _known(statistics, language)
        others = [name for name in statistics.languages if name != language]
        if not others:
            raise InputError(
                f"the mean of the other languages needs statistics of more than {language!r}."
            )
        read = _as_written(statistics)
        means = torch.stack([read.mean(name).double() for name in others]).mean(0)
        return cls(
            "mean-others", tensor=means.float().cpu(), site=statistics.site, model=statistics.model
        )

    @classmethod
    def clip(cls, low: float | Value, high: float | Value) -> Value:
        """The unit's own value, kept within a range.

        Args:
            low: Smallest value kept, a number or fixed values (``-inf`` for none).
            high: Largest value kept.

        Raises:
            InputError: If a bound is not fixed, or low lies above high.
        """
        bounds = [
            cls.constant(bound) if isinstance(bound, int | float) else bound
            for bound in (low, high)
        ]
        first, second = bounds
        if first.tensor is None or second.tensor is None or {b.kind for b in bounds} != {"tensor"}:
            raise InputError("the bounds of a clipped value must be numbers or statistics.")
        if bool((first.tensor > second.tensor).any()):
            raise InputError(
                f"cannot clip to {first.name}..{second.name}, low lies above high: give low first."
            )
        sites = {bound.site for bound in bounds if bound.site is not None}
        if len(sites) > 1:
            raise InputError(
                "the bounds of a clipped value are statistics of different sites: take one site."
            )
        if not same_model(first.model, second.model):
            raise InputError(
                "the bounds of a clipped value are statistics of different models: take one model."
            )
        return cls(
            f"clip({first.name}, {second.name})",
            kind="clip",
            tensor=first.tensor,
            high=second.tensor,
            site=sites.pop() if sites else None,
            model=first.model or second.model,
        )

    @classmethod
    def unit(cls, layer: int, index: int) -> Value:
        """Another unit's value at the same token; its layer must not lie behind the target's."""
        return cls(f"unit({layer}, {index})", kind="unit", source=(int(layer), int(index)))

    @classmethod
    def _from(
        cls, statistics: Statistics, language: str, name: str, read: Callable[[Statistics], Tensor]
    ) -> Value:
        _known(statistics, language)
        values = read(_as_written(statistics)).to("cpu", torch.float32)
        return cls(name, tensor=values, site=statistics.site, model=statistics.model)

    def named(self, name: str) -> Value:
        """The same value under another name."""
        return replace(self, name=name)

    def resolve(self, shape: tuple[int, int]) -> Tensor:
        """The fixed numbers (of ``clip``: the lower bound) as float32 of ``shape``.

        Raises:
            InputError: If they belong to a model of another shape, or the value is not fixed.
        """
        return _spread(self, self.tensor, shape)

    def resolve_high(self, shape: tuple[int, int]) -> Tensor:
        """The upper bound of ``clip`` as float32 of ``shape``."""
        return _spread(self, self.high, shape)

    def identity(self) -> dict[str, object]:
        """JSON-able content, for keys of artifacts: equal exactly when what is written is."""
        tensors = [t.contiguous() for t in (self.tensor, self.high) if t is not None]
        return {
            "kind": self.kind,
            "content": digest(*tensors) if tensors else None,
            "source": list(self.source) if self.source else None,
            "site": self.site,
        }


def _as_written(statistics: Statistics) -> Statistics:
    """Units inside experts are written where they run, so their statistics are of these tokens."""
    if all(item.routing is not None for item in statistics.by_language.values()):
        return statistics.read_as("routed", least=1)
    return statistics


def _known(statistics: Statistics, language: str) -> None:
    if language not in statistics.languages:
        raise unknown("language of the statistics", language, statistics.languages)


def _spread(value: Value, tensor: Tensor | None, shape: tuple[int, int]) -> Tensor:
    if tensor is None:
        raise InputError(f"the value {value.name!r} must be a fixed number here.")
    if tensor.ndim == 0:
        return tensor.expand(shape)
    if tuple(tensor.shape) != shape:
        raise InputError(
            f"the value {value.name!r} is for {tensor.shape[0]} layers x {tensor.shape[1]} units, "
            f"the site has {shape[0]} x {shape[1]}: it belongs to another model or site, take "
            "one of this."
        )
    return tensor
