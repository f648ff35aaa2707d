"""Tables of the steering protocol."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.evaluation.intervals import ratio_interval
from langneurons.evaluation.steering import summary
from langneurons.interface.results import Results

_CELL = ["way", "language", "kind", "seed"]


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """One row a way, target and draw; every setting tried; every answer of the test."""
    answers = pd.concat(
        [results.rows("steering_prompts"), results.rows("steering", "answers.parquet")],
        ignore_index=True,
    )
    choice = results.rows("steering", "choice.parquet")
    cost = results.rows("steering", "cost.parquet")
    if answers.empty:
        return {}
    tested = answers[~answers["choosing"].astype(bool)].drop(columns="choosing")
    rows = [
        {**dict(zip(_CELL, key, strict=True)), **summary(group), **_loss(group)}
        for key, group in tested.groupby(_CELL, sort=False)
    ]
    table = pd.DataFrame(rows)
    if len(choice):
        chosen = choice[choice["chosen"]][["way", "language", "layer", "strength"]]
        table = table.merge(chosen, "left", on=["way", "language"])
        table = table.merge(cost, "left", on=_CELL)
        table[["layer", "strength"]] = table[["layer", "strength"]].fillna("-")
    order = list(dict.fromkeys(table["way"]))
    table = table.sort_values(
        "way", key=lambda column: column.map(order.index), kind="stable"
    ).reset_index(drop=True)
    return {"steering": table, "steering_choice": choice, "steering_answers": tested}


def _loss(group: pd.DataFrame) -> dict[str, float]:
    """How much dearer the gold answer is than without steering, nats a token (t interval)."""
    if "answer_loss_change" not in group or group["answer_loss_change"].isna().all():
        return {}
    change = group["answer_loss_change"].dropna()
    low, high = ratio_interval(change, [1.0] * len(change))
    return {"answer_loss": float(change.mean()), "answer_loss_low": low, "answer_loss_high": high}
