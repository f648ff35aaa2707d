"""Linear subspaces."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.subspaces.spec import SubspacesSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "subspaces",
        750,
        spec=SubspacesSpec,
        many=True,
        check=later(f"{__name__}.spec:check"),
        verify=later(f"{__name__}.spec:verify"),
        narrow=later(f"{__name__}.spec:narrow"),
        sites=later(f"{__name__}.spec:sites"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "subspaces": Kind(later(f"{__name__}.run:subspaces"), predicts=True),
        },
        columns={
            "subspaces": Columns(),
            "subspaces_cost": Columns(),
            "subspaces_moves": Columns(),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
