"""What every part of a study's schema shares."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from langneurons.intervention.words import parse


class Spec(BaseModel):
    """A part of a study: unknown keys are refused, values stay as they were given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def told(self) -> str:
        """What it is, in a word or two; for an overview of a study."""
        return ""


def check_value(value: str) -> str:
    """A replacement value's name alone, as it was given.

    Raises:
        ValueError: If it is none.
    """
    if "@" in value:
        raise ValueError(f"value {value!r}: give a value alone here, such as mean or P90.")
    parse(value)
    return value


def check_written(value: str) -> str:
    """A replacement value, also of another site, language or scope.

    ``P10@mlp.pre`` is the statistic of what goes into the activation function, written over what
    comes out of it, as the released code of arXiv 2503.17456 does.

    Raises:
        ValueError: If it is none, or its tokens are told by generation, which tasks do not do.
    """
    scope = parse(value).scope
    if scope in ("prompt", "generated"):
        raise ValueError(
            f"value {value!r}: a study scores texts that are given, use @last, @rest, @text or "
            "@padding."
        )
    return value


def _words(values: Any) -> Any:
    """YAML reads -1 as a number; a value's name is a word."""
    return [str(value) for value in values] if isinstance(values, list) else values


def _each(check: Callable[[str], str]) -> Callable[[list[str]], list[str]]:
    return lambda values: [check(value) for value in values]


Value = Annotated[str, AfterValidator(check_value)]
"""The name of a replacement value."""

Values = Annotated[list[str], BeforeValidator(_words), AfterValidator(_each(check_value))]
"""Names of replacement values."""

WrittenValues = Annotated[list[str], BeforeValidator(_words), AfterValidator(_each(check_written))]
"""Names of replacement values, also of another site."""


def nested(annotation: Any, keyed: bool = False) -> list[tuple[type[BaseModel], bool]]:
    """Parts of the schema inside a field's type, and whether they stand under a name of theirs."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(annotation, keyed)]
    inside = keyed or typing.get_origin(annotation) is dict
    return [found for argument in typing.get_args(annotation) for found in nested(argument, inside)]
