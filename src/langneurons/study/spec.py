"""What every part of a study's schema shares."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

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
