"""Tasks: what is scored, and the scores."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "tasks",
        300,
        columns={
            "scores": Columns(
                "task adapter language metric intervention units neurons seed",
                "n value low high difference difference_low difference_high p_value p_holm mde "
                "chance",
            ),
            "rules": Columns("task language rule subset metric", "value n"),
            "odd_rows": Columns("task language", "n no_gold romanised replaced english cut"),
            "two_holders": Columns(
                shown_as="Scores without intervention on items in whose text two people or more "
                "have what is asked: there the person decides."
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
