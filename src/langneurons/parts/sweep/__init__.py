"""Sweeps over the value written, the share of units and the layers."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.sweep.spec import SweepSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "sweep",
        400,
        spec=SweepSpec,
        kinds={
            "sweep": Kind(later(f"{__name__}.run:sweep"), predicts=True),
        },
        columns={
            "sweep": Columns("value units language kind", "ratio low high"),
        },
        **functions(__name__, "check stages tables page"),
    )
)
