"""What an identification method is, and the registry in which each one enters itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

from langneurons.errors import unknown
from langneurons.registry import Registry

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
    """

    scores: dict[str, Tensor]
    selected: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        name: As in ``identify(method=...)``.
        function: ``function(statistics, **parameters) -> Found``; for methods that need the model
            ``function(lm, texts, statistics, **parameters) -> Found``, statistics possibly None.
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
            InputError: If a given one is none of this method's, or no word it can be.
        """
        known = self.parameters
        types = get_type_hints(self.function)
        for name, value in given.items():
            if name not in known:
                raise unknown(f"parameter of method {self.name!r}", name, known)
            if get_origin(types[name]) is Literal and value not in get_args(types[name]):
                raise unknown(name, value, [str(word) for word in get_args(types[name])])
        return {**known, **given}


QUOTAS = ("per_language", "per_layer")
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
