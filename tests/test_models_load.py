"""Loading: folders, GGUF files (written here, read by Transformers), and one-line errors."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
from langneurons.errors import InputError
from langneurons.models import load, wrap
from langneurons.models.gguf import cache_folder

IDS = torch.arange(3, 23).reshape(2, 10)
REAL = Path(__file__).resolve().parents[1] / "real-models"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def gguf_file(tmp_path):
    return tiny.write_gguf(tmp_path / "tiny.gguf", tiny.model("llama"))


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_a_folder_gives_the_same_model_and_tokenizer(tmp_path):
    lm = tiny.lm("qwen3")
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu")
    assert torch.equal(logits(loaded.model), logits(lm.model))
    assert loaded.special_ids == {0, 1, 2}
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.fingerprint["sha256"] == lm.fingerprint["sha256"]
    assert (loaded.fingerprint["layers"], loaded.fingerprint["units"]) == (2, tiny.UNITS)
    in_bf16 = load(tmp_path / "model", dtype="bfloat16", device="cpu")
    assert in_bf16.dtype == torch.bfloat16
    assert in_bf16.fingerprint["sha256"] == lm.fingerprint["sha256"]


def test_a_gguf_file_is_the_model_it_was_made_from(gguf_file):
    net = tiny.model("llama")
    lm = load(gguf_file, device="cpu")
    assert lm.dtype == torch.float32
    torch.testing.assert_close(logits(lm.model), logits(net), rtol=0, atol=1e-5)
    text = "the cat and नमस्ते"
    assert lm.tokenizer(text)["input_ids"][-6:] == tiny.tokenizer()(text)["input_ids"][-6:]


def test_a_gguf_file_is_converted_once_and_anew_when_it_changes(gguf_file, monkeypatch):
    first = load(gguf_file, device="cpu")
    copies = {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*.safetensors")}
    assert len(copies) == 1
    # Without the reader a second conversion would fail, a cached copy does not need it.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    second = load(gguf_file, device="cpu")
    assert torch.equal(logits(first.model), logits(second.model))
    assert {p: p.stat().st_mtime_ns for p in cache_folder().rglob("*.safetensors")} == copies
    monkeypatch.undo()
    tiny.write_gguf(gguf_file, tiny.model("llama", seed=1))
    assert not torch.equal(logits(load(gguf_file, device="cpu").model), logits(first.model))


def test_a_gguf_born_model_is_saved_like_any_other(gguf_file, tmp_path):
    from transformers import AutoModelForCausalLM

    lm = load(gguf_file, device="cpu")
    lm.model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(again), logits(lm.model))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:5], "truncated"),
        (lambda data: data[:2000], "truncated"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:-40], "truncated"),
        (lambda data: b"PK" + data[2:], "no GGUF file"),
        (lambda data: data.replace(b"llama", b"klama"), "klama is not supported"),
    ],
)
def test_a_bad_gguf_file_is_one_line_and_leaves_nothing(gguf_file, spoil, message):
    gguf_file.write_bytes(spoil(gguf_file.read_bytes()))
    with pytest.raises(InputError, match=message) as error:
        load(gguf_file)
    assert "\n" not in str(error.value)
    assert str(gguf_file) in str(error.value)
    assert not list(cache_folder().rglob("*.safetensors"))
    assert not list(cache_folder().rglob("*.part"))


def test_without_the_extra_the_line_names_it(gguf_file, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'langneurons\[gguf\]'"):
        load(gguf_file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/model", "no such folder"),
        ("missing.gguf", "no file"),
        ("two words", "check the name"),
        ("{tmp}", "no config.json"),
        ("{tmp}/notes.txt", "is a file"),
    ],
)
def test_a_bad_name_is_one_line(tmp_path, name, message):
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        load(name.format(tmp=tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["someone/some-model", "someone/some-model:x.gguf"])
def test_an_unreachable_hub_is_one_line_at_once(name):
    # A fresh process: the Hub's address is read when its library is imported.
    code = (
        "import sys, langneurons.errors as e\n"
        "from langneurons.models import load\n"
        f"try: load({name!r})\n"
        "except e.InputError as error: print(error)"
    )
    environment = {"HF_ENDPOINT": "http://hub.invalid", "PATH": "", "HF_HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout.count("\n") == 1, done.stderr
    assert "cannot reach the Hub" in done.stdout


@pytest.mark.parametrize(
    "option", [{"dtype": "int8"}, {"dtype": "float1000"}, {"device": "nonsense"}]
)
def test_unknown_options_are_refused(tmp_path, option):
    lm = tiny.lm("llama")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=next(iter(option.values()))):
        load(tmp_path, **option)


def test_one_changed_weight_changes_the_fingerprint():
    lm = tiny.lm("llama")
    other = tiny.model("llama")
    weight = other.model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        weight[5, 7] += 0.5
    changed = wrap(other, lm.tokenizer, "tiny")
    assert changed.fingerprint["sha256"] != lm.fingerprint["sha256"]
    assert tiny.lm("llama").fingerprint == lm.fingerprint


def test_an_adapter_keeps_the_fingerprint_of_its_base():
    from peft import LoraConfig, get_peft_model

    lm = tiny.lm("llama")
    before = tiny.lm("llama").fingerprint
    adapted = get_peft_model(lm.model, LoraConfig(target_modules=["gate_proj", "down_proj"]))
    assert lm.with_model(adapted).fingerprint == before


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "shape"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", (30, 1536)),
        ("gemma-3-270m-q4_k_m.gguf", (18, 2048)),
    ],
)
def test_real_gguf_files(file, shape, monkeypatch):
    monkeypatch.delenv("LANGNEURONS_CACHE")
    if not (REAL / file).is_file():
        pytest.skip("run `make real-models` first")
    lm = load(REAL / file, device="cpu")
    assert (lm.layers, lm.sites["mlp.act"].width) == shape
    ids = lm.tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        best = lm.model(**ids).logits[0, -1].topk(20).indices
    assert any("Paris" in lm.tokenizer.decode(token) for token in best)


def test_each_process_has_its_own_device(monkeypatch):
    from langneurons.models.loading import _device

    def current(check_available: bool) -> torch.device:
        return torch.device("cuda")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", current)
    assert _device("auto") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert _device("auto") == torch.device("cuda", 3)
