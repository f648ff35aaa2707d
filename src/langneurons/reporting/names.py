"""Names: file names from any text, and metrics with their unit."""

from __future__ import annotations

from langneurons.artifacts import digest

_METRICS = {"accuracy": "accuracy, %", "exact_match": "exact match, %", "f1": "F1, %"}


def slug(text: str) -> str:
    """A file name from any text: ASCII letters, digits, ``-`` and ``_``; never empty.

    Texts with other signs get a short digest behind, so that two of them never share a file.
    """
    plain = text.replace("@", "-at-")
    kept = "".join(
        sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "-" for sign in plain
    )
    name = "-".join(part for part in kept.split("-") if part)
    if kept == plain and name:
        return name
    return f"{name[:40]}-{digest(text)[:6]}".lstrip("-")


def metric_label(metric: str) -> str:
    """A metric with its unit, as headings and captions name it."""
    return _METRICS.get(metric, metric.replace("_", " "))
