"""The neuron explorer: what single units do."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.passages.spec import PassagesSpec

add(
    Part(
        "passages",
        150,
        spec=PassagesSpec,
        kinds={
            "passages": Kind(later(f"{__name__}.run:passages")),
        },
        **functions(__name__, "check stages page"),
    )
)
