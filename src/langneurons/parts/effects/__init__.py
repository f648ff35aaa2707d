"""The effect of single units on perplexity."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "effects",
        450,
        columns={
            "unit_effects": Columns(
                "language", "layer index ratio", unit=later(f"{__name__}.page:unit")
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
