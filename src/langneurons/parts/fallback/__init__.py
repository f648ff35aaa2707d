"""Which language takes over when one after another is switched off."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "fallback",
        550,
        columns={
            "fallback": Columns(
                "start removed kind seed language_detected", "step share low high n"
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
