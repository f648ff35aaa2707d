"""Sparse features."""

from langneurons.interface.part import Kind, Part, add, later
from langneurons.parts.features.spec import FeaturesSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "features",
        800,
        spec=FeaturesSpec,
        many=True,
        check=later(f"{__name__}.spec:check"),
        verify=later(f"{__name__}.spec:verify"),
        files=later(f"{__name__}.spec:files"),
        stages=later(f"{__name__}.stages:stages"),
        tables=later(f"{__name__}.tables:tables"),
        kinds={
            "features": Kind(later(f"{__name__}.run:features"), predicts=True),
            "feature_languages": Kind(later(f"{__name__}.run:feature_languages")),
        },
        columns={
            "features": Columns(),
            "feature_languages": Columns(),
            "feature_perplexity": Columns(),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
