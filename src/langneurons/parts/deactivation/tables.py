"""Tables of true deactivation."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Change of perplexity, and of the stream behind it, by value."""
    return {
        "deactivation": results.rows("deactivation", "change.parquet"),
        "residual": results.rows("deactivation", "residual.parquet"),
    }
