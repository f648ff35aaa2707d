"""How much it would take to see a small effect."""

from langneurons.interface.part import Part, add, functions
from langneurons.reporting.columns import Columns

add(
    Part(
        "planning",
        850,
        columns={
            "planning": Columns("of name lang", "size detectable needed"),
        },
        **functions(__name__, "tables page"),
    )
)
