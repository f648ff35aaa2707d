"""Tasks: what is scored, and the scores."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.tasks.spec import TaskSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "tasks",
        300,
        spec=TaskSpec,
        many=True,
        noun="task",
        names={"task": 1},
        verify=later(f"{__name__}.spec:verify"),
        files=later(f"{__name__}.spec:files"),
        examples=later(f"{__name__}.spec:examples"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "scores": Kind(later(f"{__name__}.run:scores")),
            "rules": Kind(later(f"{__name__}.run:rules"), model=False),
        },
        columns={
            "rules": Columns("task language rule subset metric", "value n"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
