"""``dtype="auto"``: by measurement, and what stays as it is stored."""

import pytest
import torch
from transformers import AutoConfig

import tiny
from langneurons import load
from langneurons.finetuning.recipe import Recipe
from langneurons.finetuning.training import precision
from langneurons.models import precision as measured
from langneurons.models.loading import auto_name

CPU = torch.device("cpu")


@pytest.fixture(params=[0.3, 6.0], ids=["slow bfloat16", "fast bfloat16"])
def gain(request, monkeypatch):
    """What the measurement finds."""
    monkeypatch.setattr(measured, "bf16_gain", lambda kind: request.param)
    return request.param


def stored(tmp_path, dtype):
    net = tiny.model().to(dtype)
    net.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_auto_is_what_the_device_multiplies_fast(tmp_path, gain, dtype):
    lm = load(stored(tmp_path, dtype), device="cpu")
    wanted = torch.bfloat16 if gain > 1 and dtype != torch.float32 else torch.float32
    assert {parameter.dtype for parameter in lm.model.parameters()} == {wanted}
    # What is computed beside the weights (positions) keeps its precision.
    assert lm.backbone.rotary_emb.inv_freq.dtype == torch.float32


def test_a_name_is_not_overruled(tmp_path, gain):
    folder = stored(tmp_path, torch.bfloat16)
    for name in ("float32", "bfloat16", "float16"):
        assert load(folder, dtype=name, device="cpu").dtype == getattr(torch, name)


def test_weights_of_a_gguf_file(tmp_path, gain, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "cache"))
    path = tiny.write_gguf(tmp_path / "tiny.gguf", tiny.model())
    assert load(path, device="cpu").dtype == (torch.bfloat16 if gain > 1 else torch.float32)


def test_what_does_not_fit_stays_as_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "bf16_gain", lambda kind: 0.3)
    folder = stored(tmp_path, torch.bfloat16)
    count = measured.parameters(AutoConfig.from_pretrained(folder))
    assert count == sum(parameter.numel() for parameter in tiny.model().parameters())
    monkeypatch.setattr(measured, "memory", lambda device: 4 * count - 1)
    assert load(folder, device="cpu").dtype == torch.bfloat16
    monkeypatch.setattr(measured, "memory", lambda device: 4 * count)
    assert load(folder, device="cpu").dtype == torch.float32


def test_a_model_quantised_in_memory_is_left_to_transformers(gain):
    config = AutoConfig.for_model("llama", dtype="bfloat16", quantization_config={"bits": 4})
    assert measured.auto_dtype(config, CPU) == "auto"


def test_a_recipe_trains_in_what_was_measured(gain):
    wanted = torch.bfloat16 if gain > 1 else torch.float32
    assert precision(Recipe(), CPU) == wanted
    assert precision(Recipe(dtype="fp32"), CPU) == torch.float32
    assert precision(Recipe(dtype="bf16"), CPU) == torch.bfloat16


def test_the_measurement_is_one_and_a_device_without_bfloat16_gains_nothing(monkeypatch):
    measured.bf16_gain.cache_clear()
    times = {torch.float32: 2.0, torch.bfloat16: 0.5}
    asked = []

    def seconds(kind, rows, width, dtype):
        asked.append(kind)
        return times[dtype]

    monkeypatch.setattr(measured, "_seconds", seconds)
    assert [measured.bf16_gain("cpu") for _ in range(3)] == [4.0] * 3
    assert len(asked) == 2
    measured.bf16_gain.cache_clear()

    def none(*_):
        raise RuntimeError("not implemented for BFloat16")

    monkeypatch.setattr(measured, "_seconds", none)
    assert measured.fast_dtype(CPU) == torch.float32
    measured.bf16_gain.cache_clear()


def test_a_real_product_is_timed():
    assert measured._seconds("cpu", 8, 64, torch.float32) > 0
    assert measured.memory(CPU) > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_name_of_auto_is_what_loading_gives(tmp_path, gain, dtype):
    folder = stored(tmp_path, dtype)
    wanted = load(folder, device="cpu").dtype
    assert auto_name(folder, device="cpu") == str(wanted).removeprefix("torch.")
    assert auto_name("nobody/knows-this-model", device="cpu") == "auto"
    assert auto_name("any.gguf") == ("bfloat16" if gain > 1 else "float32")
