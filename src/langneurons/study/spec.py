"""What every part of a study's schema shares."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from typing import Annotated, Any

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


def parted(value: str) -> tuple[str, str | None, str | None]:
    """A replacement value's name, where its statistic is taken, and where it is written.

    ``P10@mlp.pre`` is taken before the activation function and written where the set's units live;
    ``P10@mlp.pre@mlp.pre`` is written before it too. None stands for where the units live.
    """
    name, *sites = value.split("@")
    taken, written = [*sites, None, None][:2]
    return name, taken, written


def check_written(value: str) -> str:
    """A replacement value, also of another site: ``P10@mlp.pre``, ``P10@mlp.act@mlp.pre``.

    The first is the statistic of what goes into the activation function, written over what comes
    out of it, as the released code of arXiv 2503.17456 does.

    Raises:
        ValueError: If it is none.
    """
    name, *sites = value.split("@")
    check_value(name)
    if sites and not (name.startswith("P") or name in ("mean", "minimum", "maximum")):
        raise ValueError(
            f"value {value!r}: only a statistic can be taken at another site, use mean or P90"
        )
    if len(sites) > 2 or not set(sites) <= set(_SIDES):
        raise ValueError(
            f"value {value!r}: write P10@TAKEN or P10@TAKEN@WRITTEN, each mlp.pre or mlp.act"
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
