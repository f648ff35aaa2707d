"""What an identification method is, and the registry in which each one enters itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Union, cast, get_args, get_origin
from typing import get_type_hints as hints_of

from torch import Tensor

from langneurons.errors import InputError, unknown
from langneurons.registry import Registry

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

Needs = Literal["counts", "moments", "rows", "model"]
"""What a method reads: positive counts; means and deviations; the token rows; model and texts."""


@dataclass(frozen=True)
class Found:
    """What a method returns.

    Attributes:
        scores: Language to (L, U), higher is more of the language's own, -inf where a unit cannot
            belong to the language.
        selected: Language to BoolTensor (L, U): the units taken by the method's own rule.
        facts: What the method worked out on the way (thresholds, a lambda found), for the record.
        site: Site of the units, where the method decides it itself; else that of what it reads.
    """

    scores: dict[str, Tensor]
    selected: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    site: str | None = None


@dataclass(frozen=True)
class ModelInput:
    """What a method that reads the model is given.

    Attributes:
        lm: The model, in evaluation mode.
        texts: Language to documents or blocks; may be read more than once.
        statistics: Statistics of the same languages, where the user has some.
    """

    lm: LanguageModel
    texts: Mapping[str, Sequence[str] | Blocks]
    statistics: Statistics | None = None


class StatisticsMethod(Protocol):
    """A method that reads statistics; its parameters are keywords with a default."""

    def __call__(self, statistics: Statistics, /, **parameters: Any) -> Found:
        """Find the units."""


class ModelMethod(Protocol):
    """A method that runs the model; its parameters are keywords with a default."""

    def __call__(self, given: ModelInput, /, **parameters: Any) -> Found:
        """Find the units."""


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        name: As in ``identify(method=...)``.
        function: A :class:`StatisticsMethod`, or a :class:`ModelMethod` where it needs the model.
        needs: What it reads.
        least: Fewest languages it can tell apart.
    """

    name: str
    function: Callable[..., Found]
    needs: Needs
    least: int = 2

    @property
    def parameters(self) -> dict[str, Any]:
        """Names of the parameters and their defaults."""
        return {
            name: parameter.default
            for name, parameter in inspect.signature(self.function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    @property
    def summary(self) -> str:
        """First line of the method's documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: the defaults, overridden by the given ones.

        Raises:
            InputError: If a given one is none of this method's, or nothing that it can be.
        """
        known = self.parameters
        types = hints_of(self.function)
        for name, value in given.items():
            if name not in known:
                raise unknown(f"parameter of method {self.name!r}", name, known)
            kind = types.get(name, Any)  # a method of one's own may say nothing
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise unknown(name, value, [str(word) for word in get_args(kind)])
            if not _fits(value, kind):
                raise InputError(f"{name} must be {_told(kind)}, not {value!r}.")
        return {**known, **given}

    def on_statistics(self, statistics: Statistics, **parameters: Any) -> Found:
        """Run a method that reads statistics."""
        return cast("StatisticsMethod", self.function)(statistics, **parameters)

    def on_model(self, given: ModelInput, **parameters: Any) -> Found:
        """Run a method that reads the model."""
        return cast("ModelMethod", self.function)(given, **parameters)


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is what an annotation says, numbers being any of their kind but bool."""
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return any(type(value) is type(word) and value == word for word in get_args(kind))
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        return (
            isinstance(value, list | tuple)
            and len(value) == len(parts)
            and all(_fits(item, part) for item, part in zip(value, parts, strict=True))
        )
    if not isinstance(kind, type):
        return True
    if isinstance(value, bool):
        return kind is bool
    if kind is int:
        return isinstance(value, Integral)
    if kind is float:
        return isinstance(value, Real)
    return isinstance(value, kind)


def _told(kind: Any) -> str:
    """An annotation in words."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_told(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(repr(word) for word in get_args(kind))
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} values, each {_told(get_args(kind)[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return (
        "nothing" if kind is type(None) else words.get(kind, getattr(kind, "__name__", str(kind)))
    )


QUOTAS = ("per_language", "per_layer", "reading")
"""Options of :func:`~langneurons.identification.identify` that every method takes."""

METHODS: Registry[Method] = Registry(
    "identification method", package="langneurons.identification.methods"
)


def method(
    name: str, *, needs: Needs, least: int = 2
) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Decorator that registers a function as the identification method called ``name``.

    Args:
        name: Name for users.
        needs: What the function reads.
        least: Fewest languages it can work with.
    """

    def add(function: Callable[..., Found]) -> Callable[..., Found]:
        METHODS.register(name)(Method(name, function, needs, least))
        return function

    return add
