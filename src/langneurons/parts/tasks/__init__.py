"""Tasks: what is scored, and the scores."""

from langneurons.interface.part import Kind, Part, add, functions, later
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
        kinds={
            "scores": Kind(later(f"{__name__}.run:scores")),
            "rules": Kind(later(f"{__name__}.run:rules"), model=False),
        },
        columns={
            "rules": Columns("task language rule subset metric", "value n"),
        },
        **functions(__name__, "verify files examples stages tables page"),
    )
)
