"""The report of a run: every part's sections, handed to the page."""

from __future__ import annotations

from pathlib import Path

from langneurons.interface.part import ordered
from langneurons.reporting import build, style
from langneurons.reporting.about import facts
from langneurons.reporting.inputs import Run, read_run
from langneurons.reporting.methods import methods, reproduce
from langneurons.reporting.nouns import called, noun
from langneurons.reporting.rest import rest
from langneurons.reporting.sections import Answer, Report
from langneurons.reporting.troubles import troubles

LAST = 900
"""Parts from this place on stand behind the tables that no part shows: they judge the whole run."""


def report(folder: str | Path) -> Path:
    """Write the report of a run directory.

    Args:
        folder: The run directory; tables it does not have are left out.

    Returns:
        The page, ``report/index.html``; :func:`langneurons.reporting.build.write` says what lies
        beside it.

    Raises:
        InputError: If the folder is no run directory or cannot be written.
        ArtifactError: If one of its files is damaged.
    """
    run = read(folder)
    return build.write(compose(run), run.folder / "report")


def read(folder: str | Path) -> Run:
    """Read a run directory with the columns that the parts know.

    Args:
        folder: The run directory.

    Raises:
        InputError: If the folder is no run directory.
        ArtifactError: If a file is damaged or a table lacks a column.
    """
    known = {name: columns for part in ordered() for name, columns in part.columns.items()}
    return read_run(folder, known)


def answer(run: Run) -> Answer | None:
    """The answer of the last part that has one: later parts build on what earlier ones measure.

    Args:
        run: What :func:`read` returns.
    """
    found = (part.answer(run) for part in reversed(ordered()) if part.answer is not None)
    return next((one for one in found if one is not None), None)


def compose(run: Run) -> Report:
    """The report of a run: the parts' sections in their order.

    Args:
        run: What :func:`read` returns.
    """
    parts = [part for part in ordered() if part.page is not None]
    with style.figure_style():
        found = answer(run)
        before, behind = (
            [section for part in chosen if part.page for section in part.page(run)]
            for chosen in (
                [part for part in parts if part.order < LAST],
                [part for part in parts if part.order >= LAST],
            )
        )
        sections = [*before, *rest(run), *behind]
    report = Report(
        title=str(run.info.get("name", run.folder.name)),
        facts=facts(run),
        answer=found,
        sections=[*sections, methods(run), reproduce(run)],
        troubles=troubles(run),
    )
    return called(report, noun(run))
