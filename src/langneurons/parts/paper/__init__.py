"""The paper beside a run: its findings, its numbers, its tables and figures."""

from langneurons.interface.part import Part, add, later

add(
    Part(
        "paper",
        950,
        page=later(f"{__name__}.page:sections"),
    )
)
