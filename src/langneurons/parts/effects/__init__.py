"""The effect of single units on perplexity."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.effects.spec import EffectsSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "effects",
        450,
        spec=EffectsSpec,
        check=later(f"{__name__}.spec:check"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "effects": Kind(later(f"{__name__}.run:effects"), predicts=True),
        },
        columns={
            "unit_effects": Columns(
                "language", "layer index ratio", unit=later(f"{__name__}.page:unit")
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
