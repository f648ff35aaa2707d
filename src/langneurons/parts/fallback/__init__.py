"""Which language takes over when one after another is switched off."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.fallback.spec import FallbackSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "fallback",
        550,
        spec=FallbackSpec,
        check=later(f"{__name__}.spec:check"),
        narrow=later(f"{__name__}.spec:narrow"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "fallback": Kind(later(f"{__name__}.run:fallback")),
        },
        columns={
            "fallback": Columns(
                "start removed kind seed language_detected", "step share low high n"
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
