"""Forcing the output language."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "forcing",
        500,
        columns={
            "forcing": Columns("off on language_detected", "share n"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
