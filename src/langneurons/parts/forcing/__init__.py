"""Forcing the output language."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.forcing.spec import ForcingSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "forcing",
        500,
        spec=ForcingSpec,
        kinds={
            "forcing": Kind(later(f"{__name__}.run:forcing")),
        },
        columns={
            "forcing": Columns("off on language_detected", "share n"),
        },
        **functions(__name__, "check narrow stages tables page"),
    )
)
