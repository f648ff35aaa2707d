"""Forcing the output language."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.forcing.spec import ForcingSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "forcing",
        500,
        spec=ForcingSpec,
        check=later(f"{__name__}.spec:check"),
        narrow=later(f"{__name__}.spec:narrow"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "forcing": Kind(later(f"{__name__}.run:forcing")),
        },
        columns={
            "forcing": Columns("off on language_detected", "share n"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
