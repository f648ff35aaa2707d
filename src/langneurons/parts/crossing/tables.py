"""Tables of the site question."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Change of perplexity by where a value was taken and written."""
    return {"crossing": results.rows("crossing")}
