"""In which language questions are answered while neurons are overwritten."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.answers.spec import AnswersSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "answers",
        830,
        spec=AnswersSpec,
        narrow=later(f"{__name__}.spec:narrow"),
        check=later(f"{__name__}.spec:check"),
        verify=later(f"{__name__}.spec:verify"),
        examples=later(f"{__name__}.spec:examples"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={"answers": Kind(later(f"{__name__}.run:answers"), model=False)},
        columns={
            "answers": Columns(
                "task adapter language value units neurons seed metric",
                "n level level_low level_high difference low high p_value",
            ),
            "answers_given": Columns("task adapter language value id gold answer"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
