"""What every unit does in every language, collected once for all that reads it."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.statistics.spec import StatisticsSpec

add(
    Part(
        "statistics",
        50,
        spec=StatisticsSpec,
        default=dict,
        check=later(f"{__name__}.spec:check"),
        verify=later(f"{__name__}.spec:verify"),
        stages=later(f"{__name__}.stages:stages"),
        kinds={
            "statistics": Kind(
                later(f"{__name__}.run:statistics"),
                several=later(f"{__name__}.run:several"),
                alike=("language",),
            ),
            "shard": Kind(later(f"{__name__}.run:shard")),
            "merge": Kind(later(f"{__name__}.run:merge"), model=False),
        },
        takes=later(f"{__name__}.cost:takes"),
    )
)
