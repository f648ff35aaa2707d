"""Language and task information of units."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.polysemanticity.spec import PolysemanticitySpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "polysemanticity",
        700,
        spec=PolysemanticitySpec,
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
        **functions(__name__, "check examples stages tables page"),
    )
)
