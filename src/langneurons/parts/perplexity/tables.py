"""Tables of the perplexity-change matrix."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """The matrix, and how specific each row is."""
    from langneurons.evaluation import specificity

    rows = results.rows("perplexity")
    return {"perplexity": rows, "specificity": specificity(rows) if len(rows) else rows}
