"""Tables of answers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """F1 against the answers of either language, scripts, and the first answers themselves.

    Holm's correction runs over one task and metric.
    """
    from langneurons.evaluation import holm

    table = results.rows("answers", "answers.parquet")
    if len(table):
        known = table["p_value"].notna()
        family = table[known].groupby(["task", "metric"])["p_value"]
        table.loc[known, "p_holm"] = family.transform(holm)
    return {"answers": table, "answers_given": results.rows("answers", "given.parquet")}
