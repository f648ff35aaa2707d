"""Linear subspaces."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.subspaces.spec import SubspacesSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "subspaces",
        750,
        spec=SubspacesSpec,
        many=True,
        kinds={
            "subspaces": Kind(later(f"{__name__}.run:subspaces"), predicts=True),
        },
        columns={
            "subspaces": Columns(),
            "subspaces_cost": Columns(),
            "subspaces_moves": Columns(),
        },
        **functions(__name__, "check verify narrow sites stages tables page"),
    )
)
