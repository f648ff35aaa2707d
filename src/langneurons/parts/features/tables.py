"""Tables of sparse features."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """How well they describe, which belong to a language, and what overwriting them does."""
    return {
        "features": results.rows("features", "quality.parquet"),
        "feature_languages": results.rows("feature_languages", "found.parquet"),
        "feature_perplexity": results.rows("feature_languages", "perplexity.parquet"),
    }
