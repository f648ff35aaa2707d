"""Tables of overwrites: what taking a value before the activation function changes on a task."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from langneurons.interface.results import Results
from langneurons.intervention.words import parse


def tables(results: Results) -> Mapping[str, pd.DataFrame]:
    """Cells of the crossed site against the same cells at the right site, example by example.

    Holm's correction runs over one task and metric.
    """
    from langneurons.evaluation import Scores, compare, holm

    keys = ("task", "adapter", "language", "units", "neurons", "seed")
    cells = {
        (*(about.get(key) for key in keys), about["value"]): path
        for path, about in results.paths("scores").items()
        if about["value"] != "none"
    }
    rows = []
    for (*where, value), path in cells.items():
        right = right_site(value)
        if right is None or (*where, right) not in cells:
            continue
        crossed, base = Scores.load(path), Scores.load(cells[*where, right])
        for metric in crossed.metrics:
            found = compare(crossed, base, metric=metric)
            about = dict(zip(keys, where, strict=True))
            rows.append(
                {
                    **about,
                    "seed": int(about["seed"] or 0),
                    "value": right,
                    "metric": metric,
                    "n": crossed.n,
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "p_value": found.p_value,
                }
            )
    table = pd.DataFrame(rows)
    if len(table):
        table["p_holm"] = table.groupby(["task", "metric"])["p_value"].transform(holm)
    return {"crossed_scores": table}


def right_site(value: str) -> str | None:
    """The same words without their site, of a value that crosses; None of any other.

    Args:
        value: ``P10@mlp.pre`` is taken before the activation function and written behind it.
    """
    what = parse(value)
    if what.taken != "mlp.pre" or what.written not in (None, "mlp.act"):
        return None
    scope = "" if what.scope == "all" else what.scope
    return "@".join(part for part in (what.name, what.language, scope) if part)
