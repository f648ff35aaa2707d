"""Tables of directions."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """One row a set, language, layer and draw."""
    return {"directions": results.rows("directions", "quality.parquet")}
