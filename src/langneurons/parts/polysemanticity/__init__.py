"""Language and task information of units."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "polysemanticity",
        700,
        columns={
            "polysemanticity": Columns(
                "neurons language task carries", "own matched difference low high units controls"
            ),
            "polysemanticity_harm": Columns(
                "neurons language task kind harm_with given", "rho low high units"
            ),
            "polysemanticity_units": Columns(unit=later(f"{__name__}.page:unit")),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
