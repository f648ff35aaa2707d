"""Linear subspaces."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "subspaces",
        750,
        columns={
            "subspaces": Columns(),
            "subspaces_cost": Columns(),
            "subspaces_moves": Columns(),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
