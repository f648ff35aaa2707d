"""Other changes of the model on the tasks, in the place of a language's neurons."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.changes.spec import ChangesSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "changes",
        820,
        spec=ChangesSpec,
        many=True,
        kinds={
            "batch_percentiles": Kind(later(f"{__name__}.run:batch_percentiles")),
            "task_change": Kind(later(f"{__name__}.run:task_change")),
        },
        columns={
            "task_changes": Columns(
                "part task adapter language change units of seed metric",
                "n difference low high p_value p_holm mde answers",
            ),
        },
        **functions(__name__, "narrow check verify sites stages tables page"),
    )
)
