"""Tables of what goes beyond neurons, gathered from the stages' files."""

from __future__ import annotations

import pandas as pd

from langneurons.study.results import Results


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """All tables of a run directory, empty where it has none."""
    return {
        "deactivation": results.rows("deactivation", "change.parquet"),
        "residual": results.rows("deactivation", "residual.parquet"),
        "crossing": results.rows("crossing"),
        "polysemanticity": results.rows("polysemanticity", "shares.parquet"),
        "polysemanticity_units": results.rows("polysemanticity", "units.parquet"),
        "polysemanticity_harm": results.rows("polysemanticity", "correlations.parquet"),
        "features": results.rows("features", "quality.parquet"),
        "feature_languages": results.rows("feature_languages", "found.parquet"),
        "feature_perplexity": results.rows("feature_languages", "perplexity.parquet"),
        "subspaces": results.rows("subspaces", "language.parquet"),
        "subspaces_cost": results.rows("subspaces", "cost.parquet"),
        "subspaces_moves": results.rows("subspaces", "moves.parquet"),
    }
