"""What overwriting a language's neurons does to perplexity."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "perplexity",
        200,
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
