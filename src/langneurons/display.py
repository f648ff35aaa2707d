"""How values show themselves in a notebook.

The rooms that make values stand before the one that draws them, and a room imports only rooms
before it. So the values inherit from :class:`Displayed`, which knows no room, and the package
names the module that draws (:func:`provide`); it is imported when something is first shown.
"""

from __future__ import annotations

import importlib
from typing import Any

_provider: list[str] = []


def provide(module: str) -> None:
    """Name the module that draws: it has ``html(value)`` and ``plot(value, kind, options)``."""
    _provider[:] = [module]


def _drawing() -> Any:
    return importlib.import_module(_provider[0])


class Displayed:
    """A value that notebooks show as a table and that can be plotted."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        text: str = _drawing().html(self)
        return text

    def plot(self, kind: str | None = None, **options: Any) -> Any:
        """Draw the value.

        Args:
            kind: What to draw; None draws the usual. An unknown name lists the known ones.
            **options: Options of the drawing, see ``docs/notebooks.md``.

        Returns:
            A :class:`langneurons.reporting.notebook.Drawing`: notebooks show it, ``.save(path)``
            writes it as PNG, SVG or PDF, ``.figure`` is the Matplotlib figure.

        Raises:
            InputError: If there is no such drawing or the value lacks what it needs.
        """
        return _drawing().plot(self, kind, options)
