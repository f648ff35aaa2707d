"""What overwriting a language's neurons does to perplexity."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.perplexity.spec import PerplexitySpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "perplexity",
        200,
        spec=PerplexitySpec,
        figure="perplexity_matrix",
        kinds={
            "perplexity": Kind(later(f"{__name__}.run:perplexity"), predicts=True),
        },
        columns={
            "perplexity": Columns(
                "neurons row column kind seed value",
                "units perplexity baseline ratio low high documents tokens",
            ),
            "specificity": Columns(),
        },
        **functions(__name__, "check stages tables page answer"),
    )
)
