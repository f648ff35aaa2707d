"""The neuron explorer: what single units do."""

from langneurons.study.part import Part, add, later

add(
    Part(
        "passages",
        150,
        page=later(f"{__name__}.page:sections"),
    )
)
