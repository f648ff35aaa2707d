"""How languages are routed through a mixture of experts.

Any study with statistics of experts has it; a study file says nothing of it.
"""

from langneurons.interface.part import Part, add, functions
from langneurons.reporting.columns import Columns

add(
    Part(
        "routing",
        160,
        columns={
            "routing": Columns("language pivot", "layer divergence halves entropy"),
            "expert_load": Columns("language", "layer expert load share"),
        },
        **functions(__name__, "tables page"),
    )
)
