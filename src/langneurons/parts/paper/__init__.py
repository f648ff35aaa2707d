"""The paper beside a run: its findings, its numbers, its tables and figures."""

from langneurons.interface.part import Part, add, functions

add(
    Part(
        "paper",
        950,
        **functions(__name__, "page"),
    )
)
