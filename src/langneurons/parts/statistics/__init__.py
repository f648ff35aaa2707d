"""What every unit does in every language, collected once for all that reads it."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.statistics.spec import StatisticsSpec

add(
    Part(
        "statistics",
        50,
        spec=StatisticsSpec,
        default=dict,
        kinds={
            "statistics": Kind(
                later(f"{__name__}.run:statistics"),
                several=later(f"{__name__}.run:several"),
                alike=("language",),
            ),
            "shard": Kind(later(f"{__name__}.run:shard")),
            "merge": Kind(later(f"{__name__}.run:merge"), model=False),
        },
        **functions(__name__, "check verify stages takes"),
    )
)
