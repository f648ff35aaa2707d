"""Errors, registry, artifacts and progress."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from langneurons import artifacts, progress
from langneurons.data import read_texts
from langneurons.data.tasks import get_task
from langneurons.errors import ArtifactError, InputError, RunError, unknown
from langneurons.registry import Registry


def test_unknown_names_the_nearest_and_all_known():
    message = str(unknown("method", "lpae", ["lape", "dln"]))
    assert "'lpae'" in message
    assert "Did you mean 'lape'?" in message
    assert "dln" in message
    assert "\n" not in message


def test_an_unknown_name_where_there_is_none_says_what_to_do():
    message = str(unknown("neuron set", "lape", [], "in 'perplexity'"))
    assert message == (
        "unknown neuron set 'lape' in 'perplexity'. There is none: add it, or take this out."
    )


def _loaded(path):
    from langneurons.models import load

    return load(path)


@pytest.mark.parametrize(
    "reading",
    [
        artifacts.expanded,
        lambda path: list(read_texts(path)),
        lambda path: get_task(f"xnli:{path}"),
        _loaded,
    ],
    ids=["expanded", "text", "task", "model"],
)
def test_the_home_of_somebody_unknown_is_one_line(reading):
    with pytest.raises(InputError, match=r"'~nobody-of-that-name/here.*write the path out"):
        reading("~nobody-of-that-name/here")


def test_no_other_module_expands_a_home():
    sources = Path(artifacts.__file__).parent.rglob("*.py")
    assert [p.name for p in sources if ".expanduser(" in p.read_text(encoding="utf-8")] == [
        "artifacts.py"
    ]


def test_registry_refuses_a_second_entry_under_one_name():
    registry: Registry[int] = Registry("thing")
    registry.register("a")(1)
    with pytest.raises(ValueError, match="'a' is registered twice"):
        registry.register("a")(2)
    assert registry.get("a") == 1
    with pytest.raises(InputError, match="unknown thing 'b'"):
        registry.get("b")


def test_atomic_path_leaves_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "value.txt"
    target.write_text("old")

    def interrupted():
        with artifacts.atomic_path(target) as part:
            part.write_text("half")
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        interrupted()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["value.txt"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    target = tmp_path / "value.txt"
    with (
        pytest.raises(RunError, match=r"value\.txt.*No space left.*Free disk space"),
        artifacts.atomic_path(target),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_bad_input(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        artifacts.write_text(blocked / "x.txt", "text")


def test_json_round_trip_and_damage(tmp_path):
    path = tmp_path / "value.json"
    value = {"name": "हिन्दी", "numbers": [1, 2.5], "none": None}
    artifacts.write_json(path, value)
    assert artifacts.read_json(path) == value
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(ArtifactError, match="checksum differs"):
        artifacts.read_json(path)
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        artifacts.read_json(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6).reshape(2, 3),
        torch.randn(4, 5).to(torch.bfloat16),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
    ],
)
def test_tensor_round_trip(tmp_path, tensor):
    path = tmp_path / "value.safetensors"
    artifacts.write_tensors(path, {"x": tensor}, {"languages": ["en", "hi"], "note": "ok"})
    tensors, metadata = artifacts.read_tensors(path)
    assert tensors["x"].dtype == tensor.dtype
    assert torch.equal(tensors["x"], tensor)
    assert metadata == {"languages": ["en", "hi"], "note": "ok"}


def test_damaged_tensors_are_named(tmp_path):
    path = tmp_path / "value.safetensors"
    artifacts.write_tensors(path, {"x": torch.ones(64)})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"value\.safetensors.*checksum differs"):
        artifacts.read_tensors(path)
    path.write_bytes(data[:40])
    with pytest.raises(ArtifactError, match="damaged"):
        artifacts.read_tensors(path)


def test_digest_tells_values_apart():
    same = artifacts.digest({"a": 1, "b": [2]}, torch.ones(2))
    assert same == artifacts.digest({"b": [2], "a": 1}, torch.ones(2))
    others = {
        artifacts.digest({"a": 1, "b": [3]}, torch.ones(2)),
        artifacts.digest({"a": 1, "b": [2]}, torch.ones(3)),
        artifacts.digest({"a": 1, "b": [2]}, torch.ones(2, dtype=torch.float64)),
        artifacts.digest("ab", "c"),
        artifacts.digest("a", "bc"),
    }
    assert len(others | {same}) == 6


def test_table_round_trip_and_damage(tmp_path):
    path = tmp_path / "rows.parquet"
    table = pd.DataFrame({"id": ["a", "ب"], "score": [0.5, None]})
    artifacts.write_table(path, table)
    pd.testing.assert_frame_equal(artifacts.read_table(path), table)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match="damaged"):
        artifacts.read_table(path)


def test_progress_prints_rate_and_time_left_off_a_terminal(capsys, monkeypatch):
    now = {"time": 100.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: now["time"])
    with progress.track("collect en", total=400, unit="tokens") as bar:
        bar.skip(200)
        bar.note("batch 3")
        now["time"] += 50
        bar.advance(100)
    line = capsys.readouterr().err.strip()
    assert line == "collect en: 300/400 tokens, 2.0 tokens/s, 50 s left batch 3"


def test_quiet_is_silent(capsys):
    progress.set_quiet(True)
    try:
        with progress.track("x", total=1) as bar:
            bar.advance()
    finally:
        progress.set_quiet(False)
    assert capsys.readouterr().err == ""


def test_importing_the_package_loads_neither_torch_nor_transformers():
    code = "import sys, langneurons, json; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(run.stdout)
    assert "langneurons.version" in loaded
    assert not {"torch", "transformers", "pandas", "numpy"} & set(loaded)


def test_every_public_name_resolves():
    import langneurons as ln

    for name in ln.__all__:
        assert getattr(ln, name) is not None


def test_json_with_numbers_for_keys_is_read_back(tmp_path):
    value = {"scores": {2: [1, 2], 10: {1: 0.5}}, 7: "x"}
    artifacts.write_json(tmp_path / "x.json", value)
    found = artifacts.read_json(tmp_path / "x.json")
    assert found == {"scores": {"2": [1, 2], "10": {"1": 0.5}}, "7": "x"}
