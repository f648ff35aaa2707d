"""Sweeps over the value written, the share of units and the layers."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "sweep",
        400,
        columns={
            "sweep": Columns("value units language kind", "ratio low high"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
