"""True deactivation: values beside the units' own range."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "deactivation",
        600,
        columns={
            "deactivation": Columns(
                "neurons language value kind", "ratio low high unusual impossible"
            ),
            "residual": Columns("neurons language value kind quantity", "layer change"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
