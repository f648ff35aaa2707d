"""What a stage that looks at answers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def answers(
    workshop: Workshop,
    output: Path,
    task: str,
    adapter: str,
    language: str,
    cells: list[dict[str, Any]],
) -> None:
    """Hold the answers of every cell against the gold answers in the training language."""
    from langneurons.evaluation import Scores, answer_language, compare

    context = workshop.context
    home, spec = context.train_language, context.spec_of("answers")
    split = context.spec_of("tasks")[task].split
    asked: Any = workshop.task(task).examples(home, split)
    gold = {item.id: item.answers for item in asked}

    def looked_at(path: Path) -> Scores:
        return answer_language(Scores.load(path), gold, home)

    plain = looked_at(workshop.out / "scores" / task / adapter / language / "none.parquet")
    untouched = {"value": "none", "units": "-", "neurons": "-", "seed": "0"}
    found = [(untouched, plain)]
    found += [(cell, looked_at(workshop.out / cell["output"])) for cell in cells]
    where = {"task": task, "adapter": adapter, "language": language}
    rows, given = [], []
    for cell, scores in found:
        about = {**where, **{key: cell[key] for key in untouched}, "seed": int(cell["seed"])}
        for metric in scores.metrics:
            level = scores.interval(metric)
            row = {**about, "metric": metric, "n": scores.n, "level": scores.value(metric),
                   "level_low": level[0], "level_high": level[1]}  # fmt: skip
            if scores is not plain:
                change = compare(scores, plain, metric=metric)
                row |= {"difference": change.difference, "low": change.low, "high": change.high,
                        "p_value": change.p_value}  # fmt: skip
            rows.append(row)
        if cell["units"] in ("-", "own"):
            given += [
                {**about, "id": str(item.id), "gold": str(item.gold[0]), "answer": item.prediction}
                for item in scores.rows.head(spec.shown).itertuples()
            ]
    write_table(output / "answers.parquet", pd.DataFrame(rows))
    write_table(output / "given.parquet", pd.DataFrame(given))
