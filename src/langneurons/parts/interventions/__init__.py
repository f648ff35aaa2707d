"""Interventions: what is written over neurons while a task is scored."""

from langneurons.study.part import Part, add, later

add(
    Part(
        "interventions",
        360,
        answer=later(f"{__name__}.answer:answer"),
    )
)
