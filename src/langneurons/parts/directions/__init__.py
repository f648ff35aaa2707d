"""Directions between languages."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.directions.spec import DirectionsSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "directions",
        760,
        spec=DirectionsSpec,
        many=True,
        noun="set of directions",
        kinds={"directions": Kind(later(f"{__name__}.run:directions"), model=False)},
        columns={"directions": Columns("directions language kind", "seed layer norm apart")},
        **functions(__name__, "check verify narrow sites stages tables page"),
    )
)
