"""Tables of the units that matter most."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """One row a unit that was measured."""
    return {"unit_effects": results.rows("effects")}
