"""True deactivation: values beside the units' own range."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.deactivation.spec import DeactivationSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "deactivation",
        600,
        spec=DeactivationSpec,
        kinds={
            "deactivation": Kind(later(f"{__name__}.run:deactivation"), predicts=True),
        },
        columns={
            "deactivation": Columns(
                "neurons language value kind", "ratio low high unusual impossible"
            ),
            "residual": Columns("neurons language value kind quantity", "layer change"),
        },
        **functions(__name__, "check stages tables page"),
    )
)
