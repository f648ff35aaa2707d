"""How languages are routed through a mixture of experts."""

from langneurons.interface.part import Part, add, later
from langneurons.reporting.columns import Columns

add(
    Part(
        "routing",
        160,
        tables=later(f"{__name__}.tables:tables"),
        columns={
            "routing": Columns("language pivot", "layer divergence halves entropy"),
            "expert_load": Columns("language", "layer expert load share"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
"""Any study with statistics of experts has it; a study file says nothing of it."""
