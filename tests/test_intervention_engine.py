"""A baked model in a second engine, llama.cpp, against hooks in Transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from langneurons.identification import Units
from langneurons.intervention import Intervention, Value, bake, intervene
from langneurons.models import load
from langneurons.statistics import collect

engine = pytest.importorskip("xllamacpp", reason="llama.cpp's binding is not installed")

PROMPT = list(range(3, 23))
NEW = 8
UNITS = Units([0, 0, 1], [2, 40, 7])
CASES = {
    "zero": [Intervention(UNITS)],
    "multiply": [Intervention(UNITS, 2.5, "multiply"), Intervention(Units([0], [11]))],
    "attention": [
        Intervention(Units([0, 1], [1, 3]), site="attn.head"),
        Intervention(Units([0, 1], [4, 9]), site="attn.v"),
        Intervention(Units([1], [13]), 0.5, "multiply", site="attn.q"),
    ],
    # Biases that the model had not, switched on by its configuration.
    "constants": [
        Intervention(UNITS, Value.of(torch.linspace(-0.25, 1.5, 2 * 48).reshape(2, 48))),
        Intervention(Units([0, 1], [5, 30]), 0.8, "add", site="mlp.out"),
    ],
    "constants of the attention": [
        Intervention(Units([0, 1], [3, 8]), 0.7, site="attn.k"),
        Intervention(Units([0, 1], [4, 9]), -0.6, "add", site="attn.v"),
        Intervention(Units([1], [13]), 0.5, site="attn.q"),
        Intervention(Units([0], [20]), 0.9, site="attn.out"),
    ],
}


def unfinished(tokenizer):
    """Tokens that end within a character: llama.cpp reports them with the next one only."""
    ids = range(tiny.VOCABULARY)
    return [number for number in ids if "\ufffd" in tokenizer.decode([number])]


def served(path, banned):
    """Tokens written greedily and log-probabilities of the vocabulary at each, by llama.cpp."""
    options = engine.CommonParams()
    options.model.path = str(path)
    options.n_ctx, options.n_parallel, options.warmup = 128, 1, False
    options.verbosity = -1
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
    off = engine.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    options.flash_attn_type = off
    options.cache_type_k = options.cache_type_v = engine.ggml_type.GGML_TYPE_F32
    request = {"prompt": PROMPT, "n_predict": NEW, "temperature": 0, "ignore_eos": True,
               "logprobs": tiny.VOCABULARY, "cache_prompt": False,
               "logit_bias": [[number, False] for number in banned]}  # fmt: skip
    steps = engine.Server(options).handle_completions(request)["choices"][0]["logprobs"]["content"]
    found = torch.full((len(steps), tiny.VOCABULARY), torch.nan)
    for row, step in zip(found, steps, strict=True):
        for item in step["top_logprobs"]:
            row[item["id"]] = item["logprob"]
    return [step["id"] for step in steps], found


def hooked(lm, what, banned):
    """The same from the model whose units are overwritten while it runs."""
    ids = torch.tensor([PROMPT])
    with torch.no_grad(), intervene(lm, what):
        made = lm.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, min_new_tokens=NEW,
            do_sample=False, suppress_tokens=banned, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    tokens = made.sequences[0, len(PROMPT) :].tolist()
    return tokens, torch.stack(made.logits, 1)[0].log_softmax(-1)


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    """A model that came from a GGUF file."""
    folder = tmp_path_factory.mktemp("gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGNEURONS_CACHE", str(folder / "cache"))
        path = tiny.write_gguf(folder / "tiny.gguf", tiny.model("llama"))
        found = load(path, device="cpu")
    found.model.generation_config.eos_token_id = None
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_baked_model_in_llama_cpp(lm, case, tmp_path):
    what = CASES[case]
    banned = unfinished(lm.tokenizer)
    tokens, expected = hooked(lm, what, banned)
    path = tiny.write_gguf(tmp_path / "baked.gguf", bake(lm, what).model)
    written, found = served(path, banned)
    assert written == tokens
    assert not found.isnan().any()
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)
    plain = hooked(lm, None, banned)[1][0]
    assert (plain - expected[0]).abs().max() > 1e-2  # the intervention does something
    print(f"\n{case}: largest difference {(found - expected).abs().max():.1e}")  # noqa: T201


REAL = Path(__file__).resolve().parents[1] / "real-models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def rewritten(path, source, state):
    """The source GGUF file in 32-bit floats, with the MLPs of a baked model's state."""
    import gguf

    read, writer = gguf.GGUFReader(source), gguf.GGUFWriter(path, "llama")
    array = gguf.GGUFValueType.ARRAY
    for field in read.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            part = field.types[-1] if kind == array else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=part)
    for tensor in read.tensors:
        layer, _, name = tensor.name.removeprefix("blk.").partition(".")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if name.startswith("ffn_") and name.endswith((".weight", ".bias")) and "norm" not in name:
            module = f"model.layers.{layer}.mlp.{name.split('.')[0].removeprefix('ffn_')}_proj"
            values = state[f"{module}.weight"].float().numpy()
            bias = state[f"{module}.bias"].float().numpy()
            writer.add_tensor(tensor.name.replace(".weight", ".bias"), bias)
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_file(), reason="run `make real-models` first")
def test_means_baked_into_a_real_model_in_llama_cpp(tmp_path):
    """A twentieth of all units at their mean: the same greedy tokens as under hooks."""
    lm = load(REAL, device="cpu", dtype="float32")
    prompt = lm.tokenizer("The capital of France is")["input_ids"]
    stats = collect(lm, {"en": ["Paris is a city in France, on the river Seine."]}, rows=0)
    width = lm.sites["mlp.act"].width
    units = Units.from_layers([range(layer % 20, width, 20) for layer in range(lm.layers)])
    what = [Intervention(units, Value.of(stats.mean("en").float()))]
    ids = torch.tensor([prompt])
    made = []
    for done in (what, None):
        with torch.no_grad(), intervene(lm, done):
            tokens = lm.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False
            )
        made.append(tokens[0, len(prompt) :].tolist())
    path = rewritten(tmp_path / "baked.gguf", REAL, bake(lm, what).model.state_dict())
    options = engine.CommonParams()
    options.model.path = str(path)
    options.n_ctx, options.n_parallel, options.warmup, options.verbosity = 64, 1, False, -1
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
    request = {"prompt": prompt, "n_predict": NEW, "temperature": 0, "logprobs": 1}
    served = engine.Server(options).handle_completions(request)["choices"][0]["logprobs"]["content"]
    assert [step["id"] for step in served] == made[0][: len(served)]
    assert len(served) >= NEW - 1
    assert made[0] != made[1]  # the intervention does something
