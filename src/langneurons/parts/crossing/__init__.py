"""The site question: a statistic taken on one side and written on the other."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.crossing.spec import CrossingSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "crossing",
        650,
        spec=CrossingSpec,
        kinds={
            "crossing": Kind(later(f"{__name__}.run:crossing"), predicts=True),
        },
        columns={
            "crossing": Columns(
                "neurons language value kind reading",
                "ratio low high impossible share share_low share_high",
            ),
        },
        **functions(__name__, "check sites stages tables page"),
    )
)
