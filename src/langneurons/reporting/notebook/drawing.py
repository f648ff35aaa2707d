"""A figure that a notebook shows and that can be saved."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from langneurons.artifacts import atomic_path, digest, write_text
from langneurons.errors import unknown
from langneurons.reporting import style
from langneurons.reporting.figures import canvas


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption.

    Attributes:
        figure: The Matplotlib figure, to be changed at will.
        caption: What is shown, ready for a paper.
    """

    figure: Figure
    caption: str

    def __repr__(self) -> str:
        return f"Drawing({self.caption!r})"

    def _name(self) -> str:
        # Ids inside an SVG have to differ between the figures of one notebook.
        return f"ln-{digest(self.caption)[:8]}"

    def svg(self) -> str:
        """The figure as SVG, values as titles of the marks."""
        return canvas.titled(canvas.svg(self.figure, self._name()))

    def png(self) -> bytes:
        """The figure as PNG on white paper."""
        buffer = io.BytesIO()
        with style.figure_style(self._name()):
            self.figure.savefig(buffer, format="png", facecolor="white")
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the figure; the suffix says how (.png, .svg, .pdf).

        Raises:
            InputError: If the suffix is another or the folder cannot be written.
        """
        target = Path(path)
        kind = target.suffix.lstrip(".").lower()
        if kind not in canvas.FORMATS:
            raise unknown("format of a figure", kind or str(target), canvas.FORMATS)
        if kind == "svg":
            write_text(target, self.svg())
            return target
        with style.figure_style(self._name()), atomic_path(target) as part:
            self.figure.savefig(part, format=kind, facecolor="white")
        return target

    def _repr_html_(self) -> str:
        drawn = Markup(canvas.inline(self.svg(), self.caption))
        below = "font-size:0.85em;opacity:0.75;max-width:50em"
        shown = Markup("<figure>{}<figcaption style='{}'>{}</figcaption></figure>")
        return str(shown.format(drawn, below, self.caption))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # The picture serves what cannot show HTML, such as a notebook printed through LaTeX.
        return {
            "text/html": self._repr_html_(),
            "image/png": self.png(),
            "text/plain": repr(self),
        }
