"""Sweeps over the value written, the share of units and the layers."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.sweep.spec import SweepSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "sweep",
        400,
        spec=SweepSpec,
        check=later(f"{__name__}.spec:check"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "sweep": Kind(later(f"{__name__}.run:sweep"), predicts=True),
        },
        columns={
            "sweep": Columns("value units language kind", "ratio low high"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
