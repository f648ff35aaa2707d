"""From a run directory to ``report/``: the page, the tables and the figures as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from langneurons.artifacts import write_text
from langneurons.progress import track
from langneurons.reporting.figures import canvas
from langneurons.reporting.inputs import read_run
from langneurons.reporting.page import Limits, fit
from langneurons.reporting.sections import compose
from langneurons.reporting.tables import export


def report(run_dir: str | Path) -> Path:
    """Write the report of a run.

    Args:
        run_dir: A run directory; tables it does not have are left out of the report.

    Returns:
        ``report/index.html``: one self-contained file. Beside it lie ``report/tables``
        (CSV, Markdown, LaTeX), ``report/figures`` (PNG, SVG, PDF) and, where the explorer has more
        units than fit in the page, ``report/explorer`` (JSON, read by a page that is served).

    Raises:
        InputError: If the folder is no run directory or cannot be written.
        ArtifactError: If one of its files is damaged.
    """
    run = read_run(run_dir)
    made = compose(run)
    folder = run.folder / "report"
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
