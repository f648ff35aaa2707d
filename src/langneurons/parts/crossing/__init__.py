"""The site question: a statistic taken on one side and written on the other."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "crossing",
        650,
        columns={
            "crossing": Columns(
                "neurons language value kind reading",
                "ratio low high impossible share share_low share_high",
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
