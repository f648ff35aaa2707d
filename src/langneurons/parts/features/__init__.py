"""Sparse features."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.features.spec import FeaturesSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "features",
        800,
        spec=FeaturesSpec,
        many=True,
        kinds={
            "features": Kind(later(f"{__name__}.run:features"), predicts=True),
            "feature_languages": Kind(later(f"{__name__}.run:feature_languages")),
        },
        columns={
            "features": Columns(),
            "feature_languages": Columns(),
            "feature_perplexity": Columns(),
        },
        **functions(__name__, "check verify files stages tables page"),
    )
)
