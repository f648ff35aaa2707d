"""Interventions written into weights, against the same interventions by hooks."""

import subprocess
import sys

import pytest
import torch

import tiny
from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.intervention import Intervention, Value, bake, intervene
from langneurons.models import load, wrap
from langneurons.models.projection import matrix

IDS = torch.arange(3, 23).reshape(2, 10)
SITES = ("mlp.act", "mlp.out", "attn.out", "attn.head", "attn.q", "attn.k", "attn.v")


def run(lm):
    with torch.no_grad():
        return lm.model(input_ids=IDS).logits


def with_biases(lm):
    """Random biases, where the library starts them at 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3, generator=generator)
    return lm


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_baked_weights_do_what_the_hooks_do(family):
    lm = with_biases(tiny.lm(family))
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    for site in SITES:
        width = lm.sites[site].width
        units = Units([0, 0, 1], [0, width // 2, width - 1])
        factors = Value.of(torch.rand(lm.layers, width) * 2)
        for what in (
            Intervention(units, site=site),
            Intervention(units, factors, mode="multiply", site=site),
            [Intervention(units, 3.0, "multiply", site), Intervention(Units([0], [0]), site=site)],
        ):
            with intervene(lm, what):
                hooked = run(lm)
            torch.testing.assert_close(run(bake(lm, what)), hooked, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[name], t) for name, t in lm.model.state_dict().items())


def test_only_the_changed_weights_take_memory():
    lm = tiny.lm("llama")
    baked = bake(lm, Units([1], [5]))
    shared = {tensor.data_ptr() for tensor in lm.model.parameters()}
    own = [name for name, t in baked.model.named_parameters() if t.data_ptr() not in shared]
    assert own == ["model.layers.1.mlp.down_proj.weight"]


@pytest.mark.slow
def test_a_baked_model_may_be_compiled():
    lm = tiny.lm("llama")
    units = Units([0, 1], [3, 7])
    with intervene(lm, units):
        hooked = run(lm)
    compiled = torch.compile(bake(lm, units).model, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(input_ids=IDS).logits, hooked, rtol=1e-5, atol=1e-5)


def test_a_baked_gguf_model_in_a_fresh_process_of_plain_transformers(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "cache"))
    lm = load(tiny.write_gguf(tmp_path / "tiny.gguf", tiny.model("llama")), device="cpu")
    units = Units([0, 0, 1], [2, 40, 7])
    with intervene(lm, units):
        expected = run(lm)
    assert (expected - run(lm)).abs().max() > 1e-3
    bake(lm, units).model.save_pretrained(tmp_path / "baked")
    code = (
        "import sys, torch\n"
        "from transformers import AutoModelForCausalLM\n"
        "from safetensors.torch import save_file\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "ids = torch.arange(3, 23).reshape(2, 10)\n"
        "with torch.no_grad(): save_file({'logits': model(input_ids=ids).logits}, sys.argv[2])\n"
        "assert not any(name.startswith('langneurons') for name in sys.modules)\n"
    )
    result = tmp_path / "logits.safetensors"
    subprocess.run([sys.executable, "-c", code, tmp_path / "baked", result], check=True)
    from safetensors.torch import load_file

    torch.testing.assert_close(load_file(result)["logits"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (Intervention(Units([0], [0]), 0.5), "layer 0 has no bias that could hold it"),
        (Intervention(Units([0], [0]), 0.5, mode="add"), "layer 0 has no bias that could hold it"),
        (Intervention(Units([1], [0]), 0.5, site="mlp.out"), "layer 1 has no bias that could hold"),
        (Intervention(Units([1], [0]), 0.5, site="attn.q"), "layer 1 has no bias that could hold"),
        (Intervention(Units([0], [0]), 0.5, site="attn.head"), "a norm that is set is not linear"),
        (Intervention(Units([0], [0]), site="mlp.pre"), "no linear map alone lies in front"),
        (Intervention(Units([0], [0]), scope="prompt"), "some tokens only"),
        (Intervention(Units([0], [0]), start=3), "some tokens only"),
        (Intervention(Units([0], [0]), Value.clip(0, 1)), "not a factor"),
        (Intervention(Units([0], [0]), Value.unit(0, 1)), "not a factor"),
        (Intervention(Units([9], [0])), "another model"),
    ],
)
def test_what_is_not_linear_is_refused(what, message):
    with pytest.raises(InputError, match=message):
        bake(tiny.lm("mistral"), what)  # its class makes no biases


def test_adapters_must_be_merged_first():
    from peft import LoraConfig, get_peft_model

    lm = tiny.lm("llama")
    adapted = get_peft_model(lm.model, LoraConfig(target_modules=["gate_proj"]))
    with pytest.raises(InputError, match="merge the adapter first"):
        bake(lm.with_model(adapted), Units([0], [0]))


def test_quantised_weights_are_refused():
    lm = tiny.lm("llama")
    down = lm.sites.downs[0]
    down.weight = torch.nn.Parameter(down.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(InputError, match="weights of Linear are quantised"):
        matrix(down)


def test_tied_weights_stay_tied():
    lm = wrap(tiny.model("llama", tie_word_embeddings=True), tiny.tokenizer())
    baked = bake(lm, Units([0], [0])).model
    assert baked.lm_head.weight.data_ptr() == baked.model.embed_tokens.weight.data_ptr()


def test_a_model_baked_while_hooks_are_on_has_none_of_them():
    lm = tiny.lm("llama")
    others = []
    lm.layer_modules[0].register_forward_hook(lambda *_: others.append(1))
    plain = run(bake(lm, Units([0], [1])))
    with intervene(lm, Units([1], [5]), 9.0, scope="text"):
        made = bake(lm, Units([0], [1]))
        assert torch.equal(run(made), plain)
    assert torch.equal(run(made), plain)
    assert others
    assert not {"get_compiled_call", "prepare_inputs_for_generation"} & set(made.model.__dict__)


BIASED = {
    "gpt2": ("mlp.act", "mlp.out", "attn.out", "attn.q", "attn.k", "attn.v"),
    "opt": ("mlp.act", "mlp.out", "attn.out", "attn.q", "attn.k", "attn.v"),
    "qwen2": ("attn.q", "attn.k", "attn.v"),
    "llama": ("mlp.act", "mlp.out", "attn.out", "attn.q", "attn.k", "attn.v"),
}


@pytest.mark.parametrize("family", BIASED)
def test_any_constant_where_a_bias_can_hold_it(family, tmp_path):
    changes = {"mlp_bias": True, "attention_bias": True} if family == "llama" else {}
    lm = with_biases(tiny.lm(family, **changes))
    plain = run(lm)
    for site in BIASED[family]:
        width = lm.sites[site].width
        units = Units([0, 0, 1], [0, width // 2, width - 1])
        values = Value.of(torch.rand(lm.layers, width, generator=torch.Generator().manual_seed(3)))
        tried = [[Intervention(units, values, site=site)]]
        # In order: 2 x 1.5 where it was set first, the last number where it was set last.
        tried.append(
            [Intervention(units, 1.5, site=site), Intervention(units, 2.0, "multiply", site)]
        )
        if site != "mlp.act" or family != "llama":
            tried.append([Intervention(units, 0.75, "add", site)])
        for what in tried:
            with intervene(lm, what):
                hooked = run(lm)
            torch.testing.assert_close(run(bake(lm, what)), hooked, rtol=1e-4, atol=1e-4)
            # Without rotary positions one vector added to all keys shifts all scores alike.
            if (site, what[0].mode) != ("attn.k", "add") or family not in ("gpt2", "opt"):
                assert (hooked - plain).abs().max() > 1e-4


SWITCHED = {  # sites at which the class makes a bias that the model has not
    "llama": ("mlp.act", "mlp.out", "attn.out", "attn.q", "attn.k", "attn.v"),
    "granite": ("mlp.act", "mlp.out", "attn.out", "attn.q", "attn.k", "attn.v"),
    "cohere": ("attn.out", "attn.q", "attn.k", "attn.v"),
    "gemma2": ("attn.out", "attn.q", "attn.k", "attn.v"),
    "mistral": (),
    "olmo2": ("attn.out", "attn.q", "attn.k", "attn.v"),
}


@pytest.mark.parametrize("family", SWITCHED)
def test_a_bias_is_switched_on_where_the_class_can_have_one(family, tmp_path):
    from transformers import AutoModelForCausalLM

    lm = tiny.lm(family)
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    config = lm.model.config.to_dict()
    for site in ("mlp.act", "mlp.out", "attn.out", "attn.q", "attn.k", "attn.v"):
        units = Units([0, 1], [1, lm.sites[site].width - 1])
        what = Intervention(units, 0.6, site=site)
        if site not in SWITCHED[family]:
            with pytest.raises(InputError, match="has no bias that could hold it"):
                bake(lm, what)
            continue
        with intervene(lm, what):
            hooked = run(lm)
        baked = bake(lm, what)
        torch.testing.assert_close(run(baked), hooked, rtol=1e-4, atol=1e-4)
        assert (hooked - run(lm)).abs().max() > 1e-4
        baked.model.save_pretrained(tmp_path / site)
        again, said = AutoModelForCausalLM.from_pretrained(
            tmp_path / site, output_loading_info=True
        )
        assert not said["missing_keys"]
        assert not said["unexpected_keys"]
        with torch.no_grad():
            found = again.eval()(input_ids=IDS).logits
        torch.testing.assert_close(found, hooked, rtol=1e-4, atol=1e-4)
    assert lm.model.config.to_dict() == config
    assert lm.model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], t) for name, t in lm.model.state_dict().items())


def test_a_model_that_needs_no_bias_gets_none():
    lm = tiny.lm("llama")
    baked = bake(
        lm, [Intervention(Units([0], [0])), Intervention(Units([0], [3]), 2.0, "multiply")]
    )
    assert baked.model.state_dict().keys() == lm.model.state_dict().keys()
    assert not baked.model.config.mlp_bias


def test_only_the_biases_that_are_needed_are_switched_on():
    baked = bake(tiny.lm("llama"), [Intervention(Units([0], [3]), 0.5)]).model
    assert baked.config.mlp_bias
    assert not baked.config.attention_bias
    assert not any("self_attn" in name and name.endswith("bias") for name in baked.state_dict())


def test_a_constant_of_a_gated_mlp_in_a_checkpoint_of_plain_transformers(tmp_path):
    """An ordinary checkpoint, read by the library alone; both sites of the MLP at once."""
    from transformers import AutoModelForCausalLM

    lm = with_biases(tiny.lm("llama", mlp_bias=True))
    what = [
        Intervention(Units([0, 1], [3, 7]), -0.2),
        Intervention(Units([0, 1], [3, 9]), 0.5, mode="multiply", site="mlp.out"),
        Intervention(Units([1], [9]), 1.25, mode="add", site="mlp.out"),
    ]
    with intervene(lm, what):
        hooked = run(lm)
    bake(lm, what).model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, hooked, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="a value lies outside what the activation function of"):
        bake(lm, Units([0], [3]), -0.5)
