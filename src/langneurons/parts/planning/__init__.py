"""How much it would take to see a small effect."""

from langneurons.interface.part import Part, add, later
from langneurons.reporting.columns import Columns

add(
    Part(
        "planning",
        850,
        tables=later(f"{__name__}.tables:tables"),
        columns={
            "planning": Columns("of name lang", "size detectable needed"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
