"""Tables of other changes on the tasks."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """One row a change and metric: the paired difference to no change, and answers that changed.

    Holm's correction runs over one part, task and metric.
    """
    from langneurons.evaluation import Scores, compare, holm

    rows = []
    plain: dict[str, Scores] = {}
    for path, about in results.paths("task_change").items():
        where = "/".join(about[key] for key in ("task", "adapter", "language"))
        if not results.stands(f"scores/{where}/none"):
            continue
        if where not in plain:
            plain[where] = Scores.load(results.out / "scores" / where / "none.parquet")
        scores = Scores.load(path)
        answers = scores.rows["prediction"].to_numpy() != plain[where].rows["prediction"].to_numpy()
        names = ("task", "adapter", "language", "change", "units", "of")
        for metric in scores.metrics:
            found = compare(scores, plain[where], metric=metric)
            rows.append(
                {
                    "part": about["name"],
                    **{key: about[key] for key in names},
                    "seed": about.get("seed", 0),
                    "metric": metric,
                    "n": scores.n,
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "p_value": found.p_value,
                    "mde": found.minimum_detectable_effect,
                    "answers": int(answers.sum()),
                }
            )
    table = pd.DataFrame(rows)
    if len(table):
        family = table.groupby(["part", "task", "metric"])["p_value"]
        table["p_holm"] = family.transform(holm)
    return {"task_changes": table}
