"""Loading in 4 bits: from Python, from the command line, in a study; and what is refused."""

import importlib.util

import pytest
import torch
import yaml
from typer.testing import CliRunner

import langneurons as ln
import tiny
from langneurons import Study
from langneurons.cli.app import app
from langneurons.config.inputs import identify_names
from langneurons.errors import InputError
from langneurons.models import load
from study_world import build

needs = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture
def folder(tmp_path):
    tiny.model("llama", hidden_size=64, intermediate_size=128).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


@needs
def test_linear_weights_are_those_of_nf4(folder):
    """Each block of 64 weights is a multiple of its largest by one of the 16 NF4 levels."""
    import bitsandbytes as bnb

    plain, small = load(folder), load(folder, load="nf4")
    gate = small.sites.gates[0].module
    assert isinstance(gate, bnb.nn.Linear4bit)
    assert gate.weight.quant_type == "nf4"
    assert gate.quant_state.nested
    found = bnb.functional.dequantize_4bit(gate.weight, gate.weight.quant_state).double()
    exact = plain.sites.gates[0].module.weight.detach().double()
    levels = torch.tensor(
        # Dettmers et al. 2023, appendix E
        [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
         0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0],
        dtype=torch.float64,
    )  # fmt: skip
    blocks = exact.reshape(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = levels[(blocks[..., None] / largest[..., None] - levels).abs().argmin(-1)] * largest
    # Double quantisation rounds the largest weight of each block to 8 bits.
    error = (found.reshape(-1, 64) - nearest).abs() / largest
    assert error.median() < 0.02
    assert float((found - exact).abs().max()) < float(exact.abs().max()) / 4


@needs
def test_the_model_runs_and_is_not_taken_for_the_whole_one(folder):
    small = load(folder, load="nf4", dtype="float32")
    before = small.fingerprint
    stats = ln.collect(small, {"en": ["the cat and the dog " * 40]}, tokens=200, block=32)
    assert before != load(folder).fingerprint
    assert before == small.fingerprint == load(folder, load="nf4", dtype="float32").fingerprint
    assert stats.prob_positive("en").shape == (small.layers, 128)
    assert small.model.config.quantization_config.bnb_4bit_compute_dtype == torch.float32


@needs
def test_a_study_and_a_command_load_in_4_bits(tmp_path):
    root = build(tmp_path)
    study = yaml.safe_load((root / "study.yaml").read_text(encoding="utf-8"))
    plain = Study.from_yaml(root / "study.yaml")
    (root / "small.yaml").write_text(yaml.safe_dump({**study, "load": "nf4"}), encoding="utf-8")
    small = Study.from_yaml(root / "small.yaml")
    assert identify_names(small.config).model != identify_names(plain.config).model
    small.run(root / "out")
    found = ln.Statistics.load(root / "out" / "statistics")
    whole = ln.collect(load(root / "model"), {"en": ["the cat"] * 50}, tokens=40, block=8)
    assert found.model != whole.model
    words = ["collect", "-m", str(root / "model"), "-t", f"en={root / 'en.txt'}", "--load", "nf4"]
    done = CliRunner().invoke(app, [*words, "--tokens", "300", "-o", str(root / "stats")])
    assert done.exit_code == 0, done.output
    assert ln.Statistics.load(root / "stats").model == found.model


def test_without_the_package_one_line_names_it(folder, monkeypatch):
    """Also in a dry run, where nothing is loaded."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else real(name)
    )
    with pytest.raises(InputError, match=r"needs the package bitsandbytes.*\[nf4\]"):
        load(folder, load="nf4")
    for words in (["run", "mini", "-s", "load=nf4"], ["evaluate", "mini-nli", "--load", "nf4"]):
        found = CliRunner().invoke(app, [*words, "--dry-run"])
        assert isinstance(found.exception, InputError)
        assert "needs the package bitsandbytes" in str(found.exception)


@needs
def test_what_cannot_be_loaded_so_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="unknown way to load 'int3'"):
        load(folder, load="int3")
    load(folder, load="nf4").model.save_pretrained(tmp_path / "small")
    tiny.tokenizer().save_pretrained(tmp_path / "small")
    with pytest.raises(InputError, match="is stored quantised: leave out load='nf4'"):
        load(tmp_path / "small", load="nf4")
