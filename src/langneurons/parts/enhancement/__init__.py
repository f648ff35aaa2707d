"""A language's own weights trained on its raw text, beside other ways to train as long."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.enhancement.spec import EnhancementSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "enhancement",
        845,
        spec=EnhancementSpec,
        kinds={
            "enhancement_rate": Kind(later(f"{__name__}.run:rate"), predicts=True),
            "enhancement": Kind(later(f"{__name__}.run:enhance"), predicts=True),
        },
        columns={
            "enhancement": Columns("language arm measured", "ratio low high"),
            "enhancement_against": Columns("language arm measured", "difference low high"),
            "enhancement_transfer": Columns("language arm measured", "difference low high"),
            "enhancement_rates": Columns("language arm", "rate loss"),
            "enhancement_seeds": Columns("language arm measured", "seed before after"),
            "enhancement_items": Columns("language arm measured", "seed document loss_sum before"),
        },
        figure="enhancement_",
        **functions(__name__, "check verify stages takes tables page"),
    )
)
