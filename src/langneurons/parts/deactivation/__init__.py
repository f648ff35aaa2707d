"""True deactivation: values beside the units' own range."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.deactivation.spec import DeactivationSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "deactivation",
        600,
        spec=DeactivationSpec,
        check=later(f"{__name__}.spec:check"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "deactivation": Kind(later(f"{__name__}.run:deactivation"), predicts=True),
        },
        columns={
            "deactivation": Columns(
                "neurons language value kind", "ratio low high unusual impossible"
            ),
            "residual": Columns("neurons language value kind quantity", "layer change"),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
