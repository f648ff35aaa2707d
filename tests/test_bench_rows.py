"""Rows kept beside a record give the same comparisons as the run they came from."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench.rows import gather, read

from langneurons.artifacts import write_table
from langneurons.evaluation import Scores, compare


def made(metric: str, column: str, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    values = (rng.random(240) < 0.5).astype(float) if column == "correct" else rng.random(240)
    values[3] = np.nan
    rows = pd.DataFrame(
        {"id": [f"q{n}" for n in range(240)], "group": [f"p{n // 3}" for n in range(240)],
         "prediction": "some long text " * 20, "gold": "x", column: values}
    )  # fmt: skip
    return Scores("xnli" if column == "correct" else "xquad", "hi", (metric,), rows)


def test_kept_rows_compare_as_the_run_did(tmp_path: Path) -> None:
    run, cells = tmp_path / "run", {}
    for task, metric, column in (("xnli", "accuracy", "correct"), ("xquad", "f1", "f1")):
        for seed, name in enumerate(("none", "zero-own-lape")):
            scores = made(metric, column, seed)
            cells[f"{task}/all/hi/{name}"] = scores
            path = run / "scores" / task / "all" / "hi" / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            scores.save(path)
    kept = tmp_path / "record.rows.parquet"
    write_table(kept, gather(run))
    assert kept.stat().st_size < 30_000
    found = read(kept)
    assert found.keys() == cells.keys()
    for task in ("xnli", "xquad"):
        names = [f"{task}/all/hi/{name}" for name in ("zero-own-lape", "none")]
        ours, theirs = (compare(*(source[name] for name in names)) for source in (found, cells))
        assert ours.p_value == theirs.p_value
        assert ours.test == theirs.test == "permutation"
        assert (ours.difference, *ours.interval) == pytest.approx(
            (theirs.difference, *theirs.interval), abs=1e-4
        )
    with pytest.raises(SystemExit, match="no scores"):
        gather(tmp_path / "empty")
