"""Interventions: what is written over neurons while a task is scored."""

from langneurons.interface.part import Part, add, functions
from langneurons.parts.interventions.spec import InterventionsSpec

add(
    Part(
        "interventions",
        360,
        spec=InterventionsSpec,
        **functions(__name__, "check sites repeat stages answer"),
    )
)
