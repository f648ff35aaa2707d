"""Interventions: what is written over neurons while a task is scored."""

from langneurons.interface.part import Part, add, later
from langneurons.parts.interventions.spec import InterventionsSpec

add(
    Part(
        "interventions",
        360,
        spec=InterventionsSpec,
        check=later(f"{__name__}.spec:check"),
        sites=later(f"{__name__}.spec:sites"),
        repeat=later(f"{__name__}.spec:repeat"),
        stages=later(f"{__name__}.stages:stages"),
        answer=later(f"{__name__}.answer:answer"),
    )
)
