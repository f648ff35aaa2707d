"""From a composed report to ``report/``: the page, the tables and the figures as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from langneurons.artifacts import write_text
from langneurons.progress import track
from langneurons.reporting.figures import canvas
from langneurons.reporting.page import Limits, fit
from langneurons.reporting.sections import Report
from langneurons.reporting.tables import export


def write(made: Report, folder: Path) -> Path:
    """Write a report.

    Args:
        made: What it shows.
        folder: Where to; made if missing.

    Returns:
        ``index.html`` in it: one self-contained file. Beside it lie ``tables`` (CSV, Markdown,
        LaTeX), ``figures`` (PNG, SVG, PDF) and, where the explorer has more units than fit in the
        page, ``explorer`` (JSON, read by a page that is served).

    Raises:
        InputError: If the folder cannot be written.
    """
    pictures, tables = made.pictures(), made.tables()
    with track("report", len(pictures) + len(tables) + 1, "parts") as bar:
        for table in tables:
            export.save(table, folder / "tables")
            bar.advance()
        drawn = {}
        for picture in pictures:
            text = canvas.svg(picture.figure, picture.name)
            canvas.save(picture.figure, text, folder / "figures", picture.name)
            drawn[picture.name] = canvas.inline(text, picture.caption)
            bar.advance()
        page = folder / "index.html"
        whole = fit(made, drawn, Limits())
        _beside(folder / "explorer", whole.parts)
        write_text(page, whole.text)
        bar.advance()
    return page


def _beside(folder: Path, parts: Mapping[str, str]) -> None:
    """Write the explorer's files; those of an earlier report that are no longer read go."""
    for name, text in parts.items():
        write_text(folder / name, text)
    for path in folder.glob("*.json"):
        if path.name not in parts:
            path.unlink()
