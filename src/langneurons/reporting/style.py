"""The one style file: colours, type and sizes of every figure and of the page.

Colours are Okabe and Ito's, told apart with any common colour blindness and in grey. Heat maps
use one hue at varying opacity, so that the background (white paper, a dark page) shows through
and the same ink is readable on every cell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from cycler import cycler

BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILLION, PURPLE, SKY, GREY = "#D55E00", "#CC79A7", "#56B4E9", "#7A8088"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "D", "^", "v", "P")
"""Series differ in colour and in marker, so that none depends on colour alone."""


def series(order: int) -> tuple[str, str]:
    """Colour and marker of the n-th series; no pair comes twice among the first 36."""
    colours, markers = len(PALETTE), len(MARKERS)
    return PALETTE[order % colours], MARKERS[(order + order // colours) % markers]


INK = "#1b1f24"
"""Text and axes of a figure; becomes the page's own text colour inside the page."""

OWN, RANDOM, MATCHED, LOAD = BLUE, GREY, ORANGE, PURPLE
UNITS = {"own": OWN, "random": RANDOM, "matched": MATCHED, "load": LOAD}
LABELS = {
    "own": "own neurons",
    "random": "random neurons",
    "matched": "equally active neurons",
    "load": "equally loaded experts",
}
OPAQUE = 0.8
"""Strongest opacity of a heat map's cell: ink stays readable (contrast above 4) on both themes."""

WIDTH, DPI = 6.5, 200
"""Inches (a text column of a paper) and dots an inch."""

FONT = "DejaVu Sans"
"""Comes with Matplotlib."""

SVG_FONTS = f"'{FONT}', Verdana, sans-serif"
"""For viewers without it: Verdana has the same widths."""

RC: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.dpi": 100,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": FONT,
    "font.size": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "pdf.fonttype": 42,
    "savefig.dpi": DPI,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is a dollar sign
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
}


@contextlib.contextmanager
def figure_style(salt: str = "langneurons") -> Iterator[None]:
    """Matplotlib settings of every figure, without touching the caller's own.

    Args:
        salt: Makes the ids inside an SVG repeatable and different between figures.
    """
    settings: Any = {**RC, "svg.hashsalt": salt}
    with mpl.rc_context(settings):
        yield
