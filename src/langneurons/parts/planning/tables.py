"""How much could be seen, and how much more it would take."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Detectable differences of scores and of perplexity, and the sizes that smaller ones need."""
    from langneurons.evaluation import planning

    return {"planning": planning(results.table("scores"), results.table("perplexity"))}
