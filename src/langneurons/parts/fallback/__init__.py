"""Which language takes over when one after another is switched off."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.fallback.spec import FallbackSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "fallback",
        550,
        spec=FallbackSpec,
        kinds={
            "fallback": Kind(later(f"{__name__}.run:fallback")),
        },
        columns={
            "fallback": Columns(
                "start removed kind seed language_detected", "step share low high n"
            ),
        },
        **functions(__name__, "check narrow stages tables page"),
    )
)
