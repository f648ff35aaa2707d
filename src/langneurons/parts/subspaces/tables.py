"""Tables of linear subspaces."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Language information left, the cost of erasing it, and moves between languages."""
    return {
        "subspaces": results.rows("subspaces", "language.parquet"),
        "subspaces_cost": results.rows("subspaces", "cost.parquet"),
        "subspaces_moves": results.rows("subspaces", "moves.parquet"),
    }
