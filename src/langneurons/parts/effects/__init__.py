"""The effect of single units on perplexity."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.effects.spec import EffectsSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "effects",
        450,
        spec=EffectsSpec,
        kinds={
            "effects": Kind(later(f"{__name__}.run:effects"), predicts=True),
        },
        columns={
            "unit_effects": Columns(
                "language", "layer index ratio", unit=later(f"{__name__}.page:unit")
            ),
        },
        **functions(__name__, "check stages tables page"),
    )
)
