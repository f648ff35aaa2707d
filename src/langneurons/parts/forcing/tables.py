"""Which language was written, counted."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.evaluation.detected import detected
from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Share of continuations by detected language."""
    cell = ["off", "on", "intervention"]
    return {"forcing": detected(results.rows("forcing"), cell)}
