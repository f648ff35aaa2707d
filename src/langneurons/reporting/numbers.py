"""How numbers are written: one place, so that page, tables and sentences agree."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A number with fixed digits, a true minus sign and thin thousands; a dash where missing.

    Args:
        value: The number; None and NaN give a dash.
        digits: Digits after the point.
        signed: Write a plus sign before positive numbers.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    rounded = round(value, digits)
    if rounded == 0:
        rounded = 0.0  # no "minus zero"
    text = f"{abs(rounded):,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if rounded < 0:
        return MINUS + text
    return f"+{text}" if signed and rounded > 0 else text


def interval(
    low: float | None, high: float | None, digits: int = 1, *, signed: bool = False
) -> str:
    """``[low, high]``, or nothing where one of the two is missing."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"[{number(low, digits, signed=signed)}, {number(high, digits, signed=signed)}]"


def with_interval(
    value: float | None,
    low: float | None,
    high: float | None,
    digits: int = 1,
    *,
    signed: bool = False,
) -> str:
    """``value [low, high]``."""
    head, tail = number(value, digits, signed=signed), interval(low, high, digits, signed=signed)
    return f"{head} {tail}" if tail and head != MISSING else head


def p_value(value: float | None) -> str:
    """A p-value: three digits, or that it is below 0.001."""
    if value is None or math.isnan(value):
        return MISSING
    return "<\N{NARROW NO-BREAK SPACE}0.001" if value < 0.001 else f"{value:.3f}"


def count(many: int, one: str, more: str | None = None) -> str:
    """``1 comparison`` or ``3 comparisons``."""
    return f"{number(many, 0)} {one if many == 1 else (more or one + 's')}"


def listing(items: list[str], most: int = 8) -> str:
    """``a, b and c``; beyond ``most`` items the rest is counted."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
