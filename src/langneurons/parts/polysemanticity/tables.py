"""Tables of polysemanticity."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Shares of units that carry information, every unit, and what goes with harm."""
    return {
        "polysemanticity": results.rows("polysemanticity", "shares.parquet"),
        "polysemanticity_units": results.rows("polysemanticity", "units.parquet"),
        "polysemanticity_harm": results.rows("polysemanticity", "correlations.parquet"),
    }
