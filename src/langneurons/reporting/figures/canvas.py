"""What figures share: an empty figure, heat maps, files, and the way into an HTML page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from langneurons.artifacts import atomic_path, write_text
from langneurons.reporting import style

FORMATS = ("png", "svg", "pdf")
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_TIP = "tip:"


def blank(height: float, width: float = style.WIDTH) -> Figure:
    """An empty figure (inches), laid out without overlaps and bound to no window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def logarithmic(axes: Axes, which: str, low: float, high: float) -> None:
    """A logarithmic axis with plain numbers at its ticks, as many as there is room for.

    Args:
        axes: Where to draw.
        which: ``"x"`` or ``"y"``.
        low: Smallest value drawn, above 0.
        high: Largest value drawn.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    decades = float(np.log10(high / low))
    steps = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0, 3.0) if decades < 4 else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def tip(artist: object, text: str) -> None:
    """Give an artist a text shown when the pointer rests on it (in SVG and in the page)."""
    artist.set_gid(_TIP + text)  # type: ignore[attr-defined]


LONG = 8
"""Signs of a column's label from which on it is written aslant."""


def heat(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    opacity: Callable[[float], float],
    colour: Callable[[float], str] = lambda value: style.BLUE,
    text: Callable[[float], str] | None = None,
    tips: Callable[[int, int], str] | None = None,
    size: float | None = None,
) -> None:
    """Draw a heat map of rectangles, first row on top.

    Args:
        axes: Where to draw.
        values: (rows, columns) float; NaN leaves a cell empty.
        rows: Row labels.
        columns: Column labels.
        opacity: Value to opacity in 0..1 (scaled to the strongest opacity of the style).
        colour: Value to hue.
        text: Value to the text in the cell; None for none.
        tips: (row, column) to the text shown under the pointer.
        size: Font size of the cell texts, points.
    """
    for i, j in np.ndindex(values.shape):
        value = float(values[i, j])
        if np.isnan(value):
            continue
        alpha = style.OPAQUE * min(1.0, max(0.0, opacity(value)))
        cell = Rectangle((j, i), 1, 1, facecolor=colour(value), alpha=alpha, linewidth=0)
        if tips is not None:
            tip(cell, tips(i, j))
        axes.add_patch(cell)
        if text is not None:
            axes.text(j + 0.5, i + 0.52, text(value), ha="center", va="center", fontsize=size)
    axes.set_xlim(0, values.shape[1])
    axes.set_ylim(values.shape[0], 0)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    if max(map(len, columns), default=0) > LONG:
        slanted = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        for label in axes.get_xticklabels():
            label.set(**slanted)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.4)


def short(name: object, most: int = 24) -> str:
    """A name cut to at most ``most`` signs, so that no label pushes the figure away."""
    text = " ".join(str(name).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def thin(labels: Sequence[str], most: int) -> list[str]:
    """Labels with all but about ``most`` of them blanked, evenly."""
    step = max(1, -(-len(labels) // most))
    return [label if place % step == 0 else "" for place, label in enumerate(labels)]


def save(figure: Figure, drawn: str, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG (on white paper), SVG and PDF.

    Args:
        figure: The figure.
        drawn: The same figure from :func:`svg`.
        folder: Target folder, made if missing.
        name: File name without suffix.

    Returns:
        The files written.
    """
    paths = [folder / f"{name}.{suffix}" for suffix in FORMATS]
    for target, suffix in zip(paths, FORMATS, strict=True):
        if suffix == "svg":
            write_text(target, titled(drawn))
            continue
        with style.figure_style(name), atomic_path(target) as part:
            metadata = {"CreationDate": None} if suffix == "pdf" else {"Software": None}
            figure.savefig(part, format=suffix, facecolor="white", metadata=metadata)
    return paths


def svg(figure: Figure, name: str) -> str:
    """A figure as SVG text: repeatable, ids prefixed with ``name``, tips as ``data-tip``.

    Args:
        figure: The figure.
        name: Prefix of all ids, so that several figures can stand in one page.
    """
    buffer = io.StringIO()
    with style.figure_style(name):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # laid out now; once is enough for all formats
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(buffer.getvalue())
    metadata = root.find(f"{{{_SVG}}}metadata")
    if metadata is not None:
        root.remove(metadata)
    for element in root.iter():
        _rename(element, name)
    text = ElementTree.tostring(root, encoding="unicode")
    return text.replace(f"'{style.FONT}'", style.SVG_FONTS)


def _rename(element: ElementTree.Element, name: str) -> None:
    identity = element.get("id")
    if identity is not None:
        if identity.startswith(_TIP):
            element.set("data-tip", identity[len(_TIP) :])
            del element.attrib["id"]
        else:
            element.set("id", f"{name}-{identity}")
    for key, value in list(element.attrib.items()):
        if key == f"{{{_XLINK}}}href" and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")
        elif key != "data-tip" and "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))


def titled(text: str) -> str:
    """An SVG with its tips as titles, which every viewer shows.

    Args:
        text: The figure from :func:`svg`.
    """
    root = ElementTree.fromstring(text)
    for element in root.iter():
        label = element.attrib.pop("data-tip", None)
        if label is not None:
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = label
            element.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")


def inline(drawn: str, label: str) -> str:
    """A figure as an SVG element for an HTML page: scales, and takes the page's text colour.

    Args:
        drawn: The figure from :func:`svg`.
        label: What the figure shows, for screen readers.
    """
    root = ElementTree.fromstring(drawn)
    width = re.sub(r"[^0-9.]", "", root.get("width", "468"))
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", label)
    points = float(width)
    root.set("style", f"max-width:{points * 1.5:.0f}px;min-width:{min(528.0, points * 1.2):.0f}px")
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(re.escape(style.INK), "currentColor", text, flags=re.IGNORECASE)
