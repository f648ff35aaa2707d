"""In which language questions are answered while neurons are overwritten."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.answers.spec import AnswersSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "answers",
        830,
        spec=AnswersSpec,
        kinds={"answers": Kind(later(f"{__name__}.run:answers"), model=False)},
        columns={
            "answers": Columns(
                "task adapter language value units neurons seed metric",
                "n level level_low level_high difference low high p_value",
            ),
            "answers_given": Columns("task adapter language value id gold answer"),
        },
        **functions(__name__, "narrow check verify examples stages tables page"),
    )
)
