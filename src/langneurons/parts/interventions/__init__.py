"""Interventions: what is written over neurons while a task is scored."""

from langneurons.interface.part import Part, add, functions
from langneurons.parts.interventions.spec import InterventionsSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "interventions",
        360,
        spec=InterventionsSpec,
        columns={
            "crossed_scores": Columns(
                "task adapter language value units neurons seed metric",
                "n difference low high p_value p_holm",
                shown_as="Values taken before the activation function and written behind it, "
                "against the same values taken behind it: points, paired, with intervals.",
            ),
        },
        **functions(__name__, "check sites repeat stages tables answer"),
    )
)
