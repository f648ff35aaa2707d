"""Tables that no section shows: those of other versions and distributions."""

from __future__ import annotations

from collections.abc import Iterator

from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.sections import Section
from langneurons.reporting.tables.plain import plain


def rest(run: Run) -> Iterator[Section]:
    """Tables as they are: those no part claims, and those a part wants shown so.

    Args:
        run: The run.
    """
    for name, table in run.tables.items():
        known = run.columns.get(name)
        if known is not None and known.shown_as is None:
            continue
        title = name.replace("_", " ").capitalize()
        caption, file = f"Table {name} of the run.", f"other_{slug(name)}"
        if known is not None and known.shown_as is not None:
            caption, file = known.shown_as, name
        yield Section(f"part-{slug(name)}", title, (), [plain(table, file, title, caption)])
