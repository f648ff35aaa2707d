"""What overwriting a language's neurons does to perplexity."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.perplexity.spec import PerplexitySpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "perplexity",
        200,
        spec=PerplexitySpec,
        check=later(f"{__name__}.spec:check"),
        stages=later(f"{__name__}.stages:stages"),
        figure="perplexity_matrix",
        tables=later(f"{__name__}.tables:tables"),
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
        page=later(f"{__name__}.page:sections"),
        answer=later(f"{__name__}.answer:answer"),
    )
)
