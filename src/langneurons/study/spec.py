"""What every part of a study's schema shares."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

_VALUE = re.compile(r"^(zero|mean|minimum|maximum|P\d{1,2}(\.\d+)?|P100|x?-?\d+(\.\d+)?)$")


class Spec(BaseModel):
    """A part of a study: unknown keys are refused, values stay as they were given."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_value(value: str) -> str:
    """A replacement value's name, as it was given.

    Raises:
        ValueError: If it is none.
    """
    if not _VALUE.match(value):
        raise ValueError(
            f"value {value!r} is none of zero, mean, minimum, maximum, P0 to P100, a number, or "
            "x and a factor (x0.5 halves)"
        )
    return value


_SIDES = ("mlp.pre", "mlp.act")
"""Both sides of the activation function, between which a value may cross."""

SCOPES = ("last", "rest", "text", "padding")
"""Tokens that a value may be written over, where not over all."""


class Written(NamedTuple):
    """What is written: a value, whose statistic it is, where it is taken and written, and when.

    Attributes:
        name: Name of the value: ``zero``, ``P10``.
        language: Language of the statistic; None for the one that is tested.
        taken: Site of the statistic; None for where the units live.
        written: Site it is written to; None for where the units live.
        scope: Tokens, as :class:`~langneurons.intervention.Intervention` takes them.
    """

    name: str
    language: str | None = None
    taken: str | None = None
    written: str | None = None
    scope: Literal["all", "last", "rest", "text", "padding"] = "all"


def parted(value: str) -> Written:
    """The parts of ``VALUE[@LANGUAGE][@TAKEN[@WRITTEN]][@SCOPE]``.

    ``P10@mlp.pre`` is taken before the activation function and written where the set's units live,
    ``P10@mlp.pre@mlp.pre`` is written before it too; ``mean@en`` is the mean of English, and
    ``mean@last`` is written over the last token alone.
    """
    name, *parts = value.split("@")
    scope = parts.pop() if parts and parts[-1] in SCOPES else "all"
    sites = [parts.pop() for _ in range(2) if parts and parts[-1] in _SIDES][::-1]
    language = parts.pop() if len(parts) == 1 else None
    taken, written = [*sites, None, None][:2]
    if parts or language == "":
        raise ValueError(
            f"value {value!r}: write VALUE@LANGUAGE@TAKEN@WRITTEN@SCOPE or any of it, in this "
            f"order: sites mlp.pre or mlp.act, scope {', '.join(SCOPES)}"
        )
    return Written(name, language, taken, written, scope)  # type: ignore[arg-type]


def check_written(value: str) -> str:
    """A replacement value, also of another site, language or scope, see :func:`parted`.

    ``P10@mlp.pre`` is the statistic of what goes into the activation function, written over what
    comes out of it, as the released code of arXiv 2503.17456 does.

    Raises:
        ValueError: If it is none.
    """
    what = parted(value)
    check_value(what.name)
    statistic = what.name.startswith("P") or what.name in ("mean", "minimum", "maximum")
    if (what.taken or what.language) and not statistic:
        raise ValueError(
            f"value {value!r}: only a statistic has a site or a language, use mean or P90; "
            "any value may end in a scope, such as @last"
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
