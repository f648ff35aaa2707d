"""Tables of tasks."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Scores of rules that need no model."""
    return {"rules": results.rows("rules")}
