"""Language and task information of units."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.polysemanticity.spec import PolysemanticitySpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "polysemanticity",
        700,
        spec=PolysemanticitySpec,
        check=later(f"{__name__}.spec:check"),
        examples=later(f"{__name__}.spec:examples"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "polysemanticity": Kind(later(f"{__name__}.run:polysemanticity")),
        },
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
