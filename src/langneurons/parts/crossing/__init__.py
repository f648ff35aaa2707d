"""The site question: a statistic taken on one side and written on the other."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.crossing.spec import CrossingSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "crossing",
        650,
        spec=CrossingSpec,
        check=later(f"{__name__}.spec:check"),
        sites=later(f"{__name__}.spec:sites"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "crossing": Kind(later(f"{__name__}.run:crossing"), predicts=True),
        },
        columns={
            "crossing": Columns(
                "neurons language value kind reading",
                "ratio low high impossible share share_low share_high",
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
