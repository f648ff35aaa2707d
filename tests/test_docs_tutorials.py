"""Every tutorial runs as it stands and leaves what it says."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
LEAVES = {
    "own_text": "lape.json",
    "switch_off": "switched_off.csv",
    "experts": "experts_off.csv",
    "masked_lora": "hi",
    "add_method": "rate_margin.json",
    "add_task": "es.parquet",
    "reproduce_paper": None,
    "read_audit": "audit/report/index.html",
    "scale_out": "ray/neurons/lape.json",
}
REAL = {"real_model"}
FAST = {"experts"}
GEMMA = FOLDER.parents[1] / "real-models" / "gemma-3-270m-q4_k_m.gguf"


def tutorial(name):
    spec = importlib.util.spec_from_file_location(f"tutorial_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_is_run_here_and_listed():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(LEAVES) | REAL
    listed = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert all(f"({name}.py)" in listed for name in set(LEAVES) | REAL)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in LEAVES]
)
def test_a_tutorial_runs(name, tmp_path, capsys, monkeypatch):
    from langneurons.data.tasks import TASKS
    from langneurons.identification import METHODS

    # What a tutorial registers must not stay for other tests.
    TASKS.names(), METHODS.names()
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS._entries))
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    if name == "scale_out":
        pytest.importorskip("ray")
    assert tutorial(name).main(tmp_path) is not False
    assert capsys.readouterr().out.strip()
    assert LEAVES[name] is None or (tmp_path / LEAVES[name]).exists()


@pytest.mark.real
@pytest.mark.skipif(not GEMMA.is_file(), reason="run `make real-models` first")
def test_the_tutorial_on_a_real_model(tmp_path):
    import pandas as pd

    neurons = tutorial("real_model").main(tmp_path, model=str(GEMMA), tokens=1_000)
    assert set(neurons) == {"en", "es", "hi", "zh"}
    table = pd.read_csv(tmp_path / "hindi_off.csv")
    ratio = table.set_index(["kind", "column"])["ratio"]
    assert ratio["own", "hi"] > ratio["random", "hi"]


def test_the_added_method_scores_by_its_definition():
    import torch

    import langneurons as ln
    from langneurons.identification import METHODS

    counts = {
        "en": torch.tensor([[9, 2, 5]]),
        "hi": torch.tensor([[1, 8, 5]]),
        "ur": torch.tensor([[3, 6, 0]]),
    }
    stats = ln.Statistics.from_counts(counts, tokens=dict.fromkeys(counts, 10))
    before = dict(METHODS._entries)
    try:
        METHODS.names()
        before = dict(METHODS._entries)
        found = tutorial("add_method").rate_margin(stats, top=1)
    finally:
        METHODS._entries.clear()
        METHODS._entries.update(before)
    assert found.scores["en"].tolist()[0] == pytest.approx([0.6, -0.6, 0.0])
    assert found.scores["hi"].tolist()[0] == pytest.approx([-0.8, 0.2, 0.0])
    assert found.selected["hi"].tolist() == [[False, True, False]]
