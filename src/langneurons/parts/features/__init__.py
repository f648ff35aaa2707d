"""Sparse features."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "features",
        800,
        columns={
            "features": Columns(),
            "feature_languages": Columns(),
            "feature_perplexity": Columns(),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
