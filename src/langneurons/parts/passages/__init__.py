"""The neuron explorer: what single units do."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.passages.spec import PassagesSpec

add(
    Part(
        "passages",
        150,
        spec=PassagesSpec,
        check=later(f"{__name__}.spec:check"),
        stages=later(f"{__name__}.stages:stages"),
        kinds={
            "passages": Kind(later(f"{__name__}.run:passages")),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
