"""Figures that a single command writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from langneurons.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def check_figure(path: Path | None) -> None:
    """Refuse a format that cannot be written, before any work is done.

    Raises:
        InputError: If the ending is of no known format.
    """
    if path is not None and path.suffix.lower() not in FORMATS:
        raise InputError(f"--figure {path} must end in {', '.join(FORMATS)}.")


def write_figure(draw: Callable[[], Figure], path: Path) -> None:
    """Draw in the project's style, on white paper, and write whole or not at all."""
    from langneurons.artifacts import atomic_path
    from langneurons.reporting.style import figure_style

    with figure_style(path.stem), atomic_path(path) as part:
        draw().savefig(part, format=path.suffix[1:].lower(), facecolor="white")
