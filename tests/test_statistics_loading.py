"""Models as they are loaded in practice: spread over devices, quantised, in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

import tiny
from langneurons.models import LanguageModel, wrap
from langneurons.statistics import Statistics, collect

TEXTS = [f"Nr {n}: " + "the cat and the dog " * (n % 5 + 1) for n in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny.model("llama", hidden_size=64, intermediate_size=128).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def loaded(folder: Path, **options: object) -> LanguageModel:
    return wrap(AutoModelForCausalLM.from_pretrained(folder, **options), tiny.tokenizer(), "tiny")


@pytest.mark.parametrize("first", ["cpu", "disk"])
@pytest.mark.parametrize("last", ["cpu", "disk"])
def test_a_model_spread_over_devices(folder: Path, tmp_path: Path, first: str, last: str) -> None:
    """As ``device_map="auto"`` does it with large models: a layer's weights come and go."""
    parts = {"model.embed_tokens": first, "model.layers.0": first, "model.layers.1": last,
             "model.norm": last, "model.rotary_emb": "cpu", "lm_head": last}  # fmt: skip
    spread = loaded(folder, device_map=parts, offload_folder=tmp_path)
    if last == "disk":  # its weights are there only while it runs
        assert next(spread.layer_modules[1].parameters()).is_meta
    whole = loaded(folder)
    assert spread.fingerprint == whole.fingerprint
    one, two = (collect(lm, {"en": TEXTS}, rows=50) for lm in (whole, spread))
    assert torch.equal(one.count_positive["en"], two.count_positive["en"])
    assert torch.equal(one.rows("en", 1), two.rows("en", 1))
    torch.testing.assert_close(one.mean("en"), two.mean("en"))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_model(folder: Path, bits: int) -> None:
    """The activations are those that the quantised model itself computes."""
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    lm = loaded(folder, quantization_config=config)
    exact = collect(lm, {"en": TEXTS}, quantiles="exact", batch_size=1)
    seen: list[torch.Tensor] = []
    handle = lm.layer_modules[0].mlp.act_fn.register_forward_hook(
        lambda _module, _args, output: seen.append(output[0].float())
    )
    with torch.no_grad():
        for text in TEXTS:
            lm.model(input_ids=torch.tensor([tiny.tokenizer()(text)["input_ids"]]))
    handle.remove()
    x = torch.cat(seen)
    assert exact.tokens["en"] == len(x)
    assert torch.equal(exact.count_positive["en"][0], (x > 0).sum(0))
    torch.testing.assert_close(exact.mean("en")[0].float(), x.mean(0), rtol=1e-4, atol=1e-5)
    assert lm.fingerprint["sha256"] != loaded(folder).fingerprint["sha256"]


@pytest.mark.slow
def test_two_processes_of_accelerate_launch(folder: Path, tmp_path: Path) -> None:
    """The documented command, with two processes, writes what one process writes."""
    (tmp_path / "en.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    settings = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",  # CPUs alike
        "use_cpu": True,
        "num_processes": 2,
        "num_machines": 1,
        "main_process_port": 0,
    }
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    launched = ["accelerate.commands.launch", "--config_file", str(config), "-m"]
    found = {}
    for name, way in (("one", []), ("two", launched)):
        command = [sys.executable, "-m", *way, "langneurons", "collect", "--model", str(folder),
                   "-t", f"en={tmp_path / 'en.txt'}", "--rows", "50", "-o", name]  # fmt: skip
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[:3000]
        found[name] = Statistics.load(tmp_path / name)
    one, two = found["one"], found["two"]
    assert one.tokens == two.tokens
    assert torch.equal(one.count_positive["en"], two.count_positive["en"])
    assert torch.equal(one.keys("en"), two.keys("en"))
    assert torch.equal(one.rows("en", 1), two.rows("en", 1))
    torch.testing.assert_close(one.mean("en"), two.mean("en"))
