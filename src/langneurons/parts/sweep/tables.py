"""Tables of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """One row a point, draw and language."""
    return {"sweep": results.rows("sweep")}
