"""What steers a language: one protocol for every way."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.steering.spec import SteeringSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "steering",
        840,
        spec=SteeringSpec,
        kinds={
            "steering_prompts": Kind(later(f"{__name__}.run:prompts")),
            "steering": Kind(later(f"{__name__}.run:steered")),
        },
        columns={
            "steering": Columns("way language kind", "seed n forcing relevance score"),
            "steering_choice": Columns("way language layer strength", "score"),
            "steering_answers": Columns("way language kind id answer", "seed"),
        },
        **functions(__name__, "check verify narrow examples sites stages tables page"),
    )
)
