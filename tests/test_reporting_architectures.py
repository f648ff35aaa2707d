"""Several runs beside each other."""

import json

import numpy as np
import pandas as pd
import pytest

from langneurons.artifacts import write_json, write_table
from langneurons.errors import InputError
from langneurons.identification import NeuronSet, Units
from langneurons.reporting.architectures import compare, profile, read_runs


def test_profiles_of_different_depth_compare():
    deep = Units(list(range(20)), [0] * 20)
    shallow = Units([0, 1, 2, 3], [0, 0, 0, 0])
    for units, layers in ((deep, 20), (shallow, 4)):
        assert profile(units, layers) == pytest.approx(np.full(10, 0.1))
    last = profile(Units([3], [5]), 4, bins=10)
    assert last == pytest.approx([0, 0, 0, 0, 0, 0, 0, 0.2, 0.4, 0.4])
    assert np.isnan(profile(Units.empty(), 4)).all()


def run(folder, name, shape, pairs, ratio):
    path = folder / name
    write_json(path / "run.json", {"model": {"name": name, "architecture": "Tiny"}})
    NeuronSet({"hi": Units.from_pairs(pairs)}, shape, site="mlp.act", method="lape").save(
        path / "neurons" / "lape.json"
    )
    rows = [
        {"neurons": "lape", "row": "hi", "column": "hi", "kind": kind, "ratio": value,
         "low": value - 0.1, "high": value + 0.1}
        for kind, value in (("own", ratio), ("random", 1.01), ("matched", 1.2))
    ]  # fmt: skip
    write_table(path / "tables" / "perplexity.parquet", pd.DataFrame(rows))


@pytest.fixture
def series(tmp_path):
    run(tmp_path, "a", (4, 8), [(3, 1), (3, 2), (2, 0)], 2.0)
    run(tmp_path, "b", (4, 8), [(3, 1), (3, 5), (2, 0)], 1.5)
    run(tmp_path, "c", (10, 16), [(9, 1), (9, 9), (7, 3)], 1.1)
    return tmp_path


def test_tables_over_a_series(series):
    tables = compare(read_runs([series]))
    models = tables["models"].set_index("run")
    assert models["ratio"].tolist() == [2.0, 1.5, 1.1]
    assert (models["largest_control"] == 1.2).all()
    assert models["found"].tolist() == [3, 3, 3]
    assert len(tables["profiles"]) == 3 * 10
    assert len(tables["similarity"]) == 3
    assert (tables["similarity"]["rho"] > 0.5).all()
    (shared,) = tables["overlap"].to_dict("records")  # a and b alone have one shape
    assert (shared["run_a"], shared["run_b"], shared["shared"]) == ("a", "b", 2)
    assert shared["jaccard"] == 0.5
    assert shared["expected"] == 9 / 32


def test_the_command(series):
    from typer.testing import CliRunner

    from langneurons.cli.app import app

    words = ["across", str(series / "a"), str(series / "b"), "-o", str(series / "out"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["models"]) == 2
    assert (series / "out" / "overlap.parquet").is_file()


def test_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run directory and holds none"):
        read_runs([tmp_path])
