"""Sites in models whose layers are not plain: shared, uneven, hybrid, with something in between.

Tiny, of random weights, each against what is known from the model's own code.
"""

import copy
import dataclasses
import types

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import tiny
from langneurons.errors import InputError, RunError
from langneurons.identification import Units, identify
from langneurons.intervention import Intervention, Value, bake, intervene
from langneurons.models import hook_site, wrap
from langneurons.models.attention import layouts
from langneurons.models.residual import mlp_writes
from langneurons.models.roles import plan_layer
from langneurons.models.trace import Call, trace_layers
from langneurons.statistics import collect

IDS = torch.arange(3, 23).reshape(2, 10)
_TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1,
          "mamba_chunk_size": 8, "mamba_d_ssm": 64}  # fmt: skip
CONFIGS = {
    "openai-gpt": {"vocab_size": 300, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 4},
    "codegen": {"vocab_size": 300, "n_positions": 64, "n_ctx": 64, "n_embd": 32, "n_layer": 2,
                "n_head": 4, "rotary_dim": 4, "n_inner": 48},
    "bitnet": _TEXT,
    "apertus": _TEXT,
    "falcon_h1": {**_TEXT, **_MAMBA, "mlp_multipliers": [0.5, 2.0]},
    "lfm2": {**_TEXT, "block_auto_adjust_ff_dim": False,
             "layer_types": ["conv", "full_attention"]},
    "gemma3n_text": {**_TEXT, "intermediate_size": [48, 48], "num_kv_shared_layers": 0,
                     "activation_sparsity_pattern": [0.9, 0.0], "hidden_size_per_layer_input": 8,
                     "vocab_size_per_layer_input": 300, "laurel_rank": 4,
                     "layer_types": ["sliding_attention", "full_attention"]},
    "gemma4_text": {**_TEXT, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300,
                    "num_hidden_layers": 4, "num_kv_shared_layers": 2, "use_double_wide_mlp": True,
                    "global_head_dim": 16,
                    "layer_types": ["sliding_attention", "full_attention"] * 2},
    "nemotron_h": {**_TEXT, "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8,
                   "n_groups": 1, "chunk_size": 8, "num_hidden_layers": 4,
                   "layers_block_type": ["linear_attention", "full_attention", "mlp", "mlp"]},
    "recurrent_gemma": {**_TEXT, "intermediate_size": 96, "lru_width": 32, "num_hidden_layers": 3,
                        "attention_window_size": 16},
    "bert": {**_TEXT, "is_decoder": True},
}  # fmt: skip


def lm(kind, **changes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**CONFIGS[kind], **changes})
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim == 2 or name.endswith("bias"):
                parameter.normal_(0.0, 0.2, generator=generator)
            elif "scale" in name:
                parameter.fill_(1.0)
    return wrap(net, tiny.tokenizer(), kind)


def run(model):
    with torch.no_grad():
        return model.model(input_ids=IDS, use_cache=False).logits


def held(model, site, layer):
    found = []
    with hook_site(model, site, lambda _, value: found.append(value.clone()), [layer]):
        run(model)
    return found[0]


PLACES = {
    # Activation and down projection of layer 0, read off the models' code.
    "openai-gpt": ("mlp.act", "mlp.c_proj", 128),
    "codegen": ("mlp.act", "mlp.fc_out", 48),
    "bitnet": ("mlp.act_fn", "mlp.down_proj", 48),
    "apertus": ("mlp.act_fn", "mlp.down_proj", 48),
    "falcon_h1": ("feed_forward.act_fn", "feed_forward.down_proj", 48),
    "lfm2": (None, "feed_forward.w2", 48),
    "gemma3n_text": ("mlp.act_fn", "mlp.down_proj", 48),
    "gemma4_text": ("mlp.act_fn", "mlp.down_proj", 48),
    "recurrent_gemma": ("mlp_block.act_fn", "mlp_block.down_proj", 48),
    "bert": ("intermediate.intermediate_act_fn", "output.dense", 48),
}


@pytest.mark.parametrize("kind", PLACES)
def test_the_mlp_is_found(kind):
    model = lm(kind)
    activation, down, width = PLACES[kind]
    for layer, mlp in enumerate(model.sites.mlps):
        assert (None if mlp.activation is None else mlp.activation.path) == activation
        assert mlp.down.path == down
        assert model.sites["mlp.out"].widths[layer] in (width, 2 * width)
        assert mlp.direct == (kind != "bitnet")


def test_one_activation_module_for_all_layers():
    model = lm("openai-gpt")
    site = model.sites["mlp.act"]
    assert site.shared
    seen = {}
    with hook_site(model, "mlp.act", lambda layer, value: seen.update({layer: value.clone()})):
        run(model)
    inputs = {}
    handles = [
        layer.mlp.c_proj.register_forward_pre_hook(
            lambda _, args, n=number: inputs.update({n: args[0].clone()})
        )
        for number, layer in enumerate(model.layer_modules)
    ]
    run(model)
    for handle in handles:
        handle.remove()
    assert all(torch.equal(seen[layer], inputs[layer]) for layer in range(3))
    units = Units([0, 2], [3, 5])
    with intervene(model, units):
        hooked = run(model)
    torch.testing.assert_close(run(bake(model, units)), hooked, rtol=1e-4, atol=1e-4)
    assert (hooked - run(model)).abs().max() > 1e-3


def test_queries_keys_and_values_of_codegen():
    """mp_num = 4 shards, each query, value, key: no layout by name."""
    model = lm("codegen")
    zero = {}
    for role in "qkv":
        units = Units([0] * 32, range(32))
        with intervene(model, units, site=f"attn.{role}"):
            zero[role] = held(model, "attn.out", 0)
    assert zero["v"].abs().max() == 0
    torch.testing.assert_close(zero["q"], zero["k"], rtol=1e-4, atol=1e-5)
    mean = held(model, "attn.v", 0).cumsum(1) / torch.arange(1, 11)[:, None]
    torch.testing.assert_close(zero["q"], mean, rtol=1e-4, atol=1e-5)


def test_layouts_hold_every_column_once():
    for heads, groups in ((4, 4), (4, 2), (4, 1)):
        for columns in layouts((heads + 2 * groups) * 6, heads, groups):
            joined = torch.cat([columns[role] for role in "qkv"])
            assert joined.sort().values.equal(torch.arange((heads + 2 * groups) * 6))
    assert list(layouts(49, 4, 2)) == []


def test_a_norm_before_the_down_projection_keeps_mlp_act_out_of_the_weights():
    model = lm("bitnet")
    units = Units([0, 1], [3, 5])
    with pytest.raises(InputError, match=r"in layer 0 something that is not linear, as a norm"):
        bake(model, units)
    with intervene(model, units, site="mlp.out"):
        hooked = run(model)
    torch.testing.assert_close(
        run(bake(model, units, site="mlp.out")), hooked, rtol=1e-4, atol=1e-4
    )


def test_layers_of_several_widths():
    model = lm("gemma4_text")
    act, out = model.sites["mlp.act"], model.sites["attn.out"]
    assert act.widths == (48, 48, 96, 96)
    assert out.widths[0] == 32
    assert 64 in out.widths  # heads of the global layers are twice as large
    with pytest.raises(InputError, match=r"layer 2 has 96 units, layer 0 has 48. Statistics need"):
        collect(model, {"en": ["the cat and the dog"]})
    units = Units([0, 3], [47, 95])
    for site in ("mlp.act", "mlp.out"):
        with intervene(model, units, site=site):
            hooked = run(model)
            assert held(model, site, 3)[..., 95].abs().max() == 0
        torch.testing.assert_close(run(bake(model, units, site=site)), hooked, rtol=1e-4, atol=1e-4)
    with (
        pytest.raises(InputError, match=r"no unit \(0, 95\): layer 0 of .* has 48 units"),
        intervene(model, Units([0], [95])),
    ):
        pass
    values = torch.zeros(4, 96)
    values[3, 95] = 0.5
    with intervene(model, units, Value.of(values)):
        assert (held(model, "mlp.act", 3)[..., 95] == 0.5).all()


def test_hybrids_have_units_where_they_have_an_mlp():
    model = lm("nemotron_h")
    assert model.sites["mlp.act"].widths == (0, 0, 48, 48)
    assert model.sites["attn.out"].widths == (0, 32, 0, 0)
    assert model.fingerprint["units"] == 48
    for site, layer in (("mlp.act", 2), ("attn.out", 1), ("attn.v", 1)):
        units = Units([layer], [3])
        with intervene(model, units, site=site):
            hooked = run(model)
        torch.testing.assert_close(run(bake(model, units, site=site)), hooked, rtol=1e-4, atol=1e-4)
        assert (hooked - run(model)).abs().max() > 1e-5
    stats = collect(model, {"en": ["the cat"], "hi": ["and the dog"]}, site="resid", rows=0)
    assert identify(stats, "difference", top=3).shape == (4, 32)


def test_a_model_of_state_spaces_alone_has_no_units():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "mamba", vocab_size=300, hidden_size=32, state_size=8, num_hidden_layers=2
    )
    model = wrap(AutoModelForCausalLM.from_config(config).eval(), tiny.tokenizer(), "mamba")
    with pytest.raises(InputError, match="no neurons \\(state-space layers have none\\)"):
        model.sites["mlp.act"]


@pytest.mark.parametrize("kind", ["falcon_h1", "apertus", "gemma3n_text", "recurrent_gemma"])
def test_statistics_and_interventions_of_models_once_refused(kind):
    model = lm(kind)
    stats = collect(model, {"en": ["the cat and the dog"], "hi": ["dog dog dog"]}, rows=0, block=8)
    layer = model.layers - 1
    assert stats.count_positive["en"][layer].shape == (48,)
    units = Units([0, layer], [3, 5])
    factors = torch.full((model.layers, 48), 1.5)
    what = Intervention(units, Value.of(factors), mode="multiply")
    with intervene(model, what):
        hooked = run(model)
    torch.testing.assert_close(run(bake(model, what)), hooked, rtol=1e-4, atol=1e-4)
    assert (hooked - run(model)).abs().max() > 1e-5


def test_a_gate_of_the_layers_own_embedding_is_no_mlp():
    """Gemma 3n: the sparse layer's activation reads another tensor than its gate gave."""
    model = lm("gemma3n_text")
    assert [mlp.activation.path for mlp in model.sites.mlps] == ["mlp.act_fn"] * 2
    assert model.sites["attn.out"].modules[0] is model.layer_modules[0].self_attn.o_proj
    with pytest.raises(InputError, match="gives one vector a token"):  # it gives four
        model.sites["resid"]
    sparse = held(model, "mlp.pre", 0)
    assert (sparse == 0).double().mean() > 0.5


def test_experts_in_a_later_layer_leave_the_dense_one_its_neurons():
    config = AutoConfig.for_model(
        "qwen3_moe", **{**_TEXT, "moe_intermediate_size": 16, "num_experts": 4,
                        "num_experts_per_tok": 2, "mlp_only_layers": [0]},
    )  # fmt: skip
    model = wrap(AutoModelForCausalLM.from_config(config).eval(), tiny.tokenizer(), "moe")
    assert model.sites["mlp.act"].layers == (0,)
    assert 0 not in model.sites["moe.router"].layers


def test_an_up_projection_of_another_width_is_no_up():
    """A projection beside the MLP that is not multiplied with the activation is not its up."""
    model = tiny.lm("llama")
    for layer in model.layer_modules:
        mlp = layer.mlp
        mlp.beside, mlp.narrow = torch.nn.Linear(32, 48), torch.nn.Linear(32, 40)

        def forward(x, mlp=mlp):
            _ = mlp.beside(x), mlp.narrow(x)
            return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x))

        mlp.forward = forward
    again = wrap(model.model, tiny.tokenizer())
    assert again.sites.mlps[0].up.path == "mlp.up_proj"
    assert again.sites.mlps[0].into.path == "mlp.gate_proj"


def test_a_layer_that_runs_twice_a_pass_is_refused():
    model = tiny.lm("llama")
    layers = model.layer_modules
    model.model.model.layers = torch.nn.ModuleList([layers[0], layers[0]])
    with pytest.raises(InputError, match="layer 0 of LlamaModel runs more than once a pass"):
        trace_layers(model.backbone, [layers[0]], lambda *_: None)


def test_a_norm_without_weights_is_no_activation():
    """Beside the true one, between the same projections (as in Dory)."""
    model = tiny.lm("llama")
    for layer in model.layer_modules:
        mlp = layer.mlp
        mlp.norm = torch.nn.LayerNorm(48, elementwise_affine=False)

        def forward(x, mlp=mlp):
            return mlp.down_proj(mlp.norm(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)))

        mlp.forward = forward
    again = wrap(model.model, tiny.tokenizer())
    assert again.sites.mlps[0].activation.path == "mlp.act_fn"
    assert not again.sites.mlps[0].direct


def test_a_model_that_adds_tokens_of_its_own_is_refused():
    model = tiny.lm("llama")
    body = model.model.model
    embed = body.embed_tokens

    class Prompted(torch.nn.Module):
        def forward(self, ids):
            return torch.cat([embed.weight[:2].expand(len(ids), -1, -1), embed(ids)], 1)

    body.embed_tokens = Prompted()
    body.embed_tokens.weight = embed.weight
    with pytest.raises(InputError, match=r"runs on \(2, 5\) tokens where it was given \(2, 3\)"):
        wrap(model.model, tiny.tokenizer()).sites["mlp.act"]


def test_layers_for_images_are_not_taken_for_the_decoders():
    """Two lists of as many layers: the larger one is of the vision tower, which text never runs."""
    config = AutoConfig.for_model(
        "gemma3",
        text_config={**_TEXT, "num_hidden_layers": 2},
        vision_config={"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
                       "num_attention_heads": 4, "image_size": 16, "patch_size": 8},
    )  # fmt: skip
    model = wrap(AutoModelForCausalLM.from_config(config).eval(), tiny.tokenizer(), "images")
    assert type(model.layer_modules[0]).__name__ == "Gemma3DecoderLayer"
    assert model.sites["mlp.act"].widths == (48, 48)


@pytest.mark.parametrize(
    ("family", "changes", "factor"),
    [
        *((family, {}, 1.0) for family in ("llama", "gpt2", "opt", "gemma2", "olmo2", "cohere")),
        ("falcon", {}, 1.0),
        ("granite", {"residual_multiplier": 0.22}, 0.22),
    ],
)  # fmt: skip
def test_what_the_mlp_adds_to_the_stream(family, changes, factor):
    model = tiny.lm(family, **changes)
    for layer, written in enumerate(mlp_writes(model)):
        assert written.factor == factor
        assert written.normed == (family in ("gemma2", "olmo2"))
        assert written.module is not model.sites.downs[layer] or not written.normed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_in_a_large_stream_hides_no_factor(dtype):
    """SmolLM2's stream holds numbers beside which bfloat16 loses what an MLP adds."""
    model = tiny.lm("granite", residual_multiplier=0.22)
    with torch.no_grad():
        model.model.get_input_embeddings().weight[:, 3] = 500.0
        model.model.get_input_embeddings().weight.mul_(20)
    written = mlp_writes(wrap(model.model.to(dtype), tiny.tokenizer(), "rounded"))
    assert [item.factor for item in written] == [0.22, 0.22]


def test_a_multiplier_that_only_the_code_knows():
    """MiniCPM3 divides by the root of the number of layers, Falcon-H1 multiplies within its MLP."""
    config = AutoConfig.for_model(
        "minicpm3", **{**_TEXT, "num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8,
                       "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
                       "head_dim": 4, "scale_depth": 1.4, "num_hidden_layers": 2},
    )  # fmt: skip
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    written = mlp_writes(wrap(net, tiny.tokenizer(), "minicpm3"))
    assert [item.factor for item in written] == pytest.approx([1.4 / 2**0.5] * 2, rel=1e-4)
    assert [item.factor for item in mlp_writes(lm("falcon_h1"))] == [2.0, 2.0]


def test_what_is_no_multiple_is_refused():
    with pytest.raises(
        InputError, match="of layer 0 of gemma4_text adds to the residual stream is"
    ):
        mlp_writes(lm("gemma4_text"))


def test_two_mlps_in_a_layer_are_not_chosen_between():
    model = tiny.lm("llama")
    for layer in model.layer_modules:
        mlp = layer.mlp
        plain = type(mlp).forward
        mlp.second = copy.deepcopy(mlp)
        mlp.forward = lambda x, mlp=mlp, plain=plain: plain(mlp, x) + mlp.second(x)
    with pytest.raises(InputError, match="layer 0 of LlamaModel: found 2 modules between an"):
        wrap(model.model, tiny.tokenizer()).sites["mlp.act"]


class OneAttention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.value, self.output = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)


def test_two_attentions_in_a_layer_are_not_chosen_between():
    layer = torch.nn.Module()
    layer.one, layer.two = OneAttention(), OneAttention()
    x = torch.ones(1, 1, 4)
    calls = [
        Call(path, layer.get_submodule(path), x, x + 1, x, x + 1)
        for path in ("one.value", "one.output", "two.value", "two.output")
    ]
    with pytest.raises(InputError, match=r"found 2 attention modules in a layer \(one, two\)"):
        plan_layer(layer, calls, x)


def test_layers_that_take_a_site_in_two_shapes_are_followed():
    """A shared expert sees (batch x sequence, units), a dense layer (batch, sequence, units)."""
    sites = tiny.lm("llama").sites
    first, second = sites.plans
    flat = dataclasses.replace(second.mlp, down=dataclasses.replace(second.mlp.down, flat=True))
    sites.__dict__["plans"] = (first, dataclasses.replace(second, mlp=flat))
    assert sites["mlp.out"].flat


def test_a_configuration_that_does_not_say_how_many_heads():
    sites = tiny.lm("llama").sites
    sites._config = types.SimpleNamespace(hidden_size=32)
    with pytest.raises(InputError, match="does not say how many heads it has: use the site"):
        sites["attn.head"]


def test_weights_tied_between_layers_are_not_baked():
    """A saved checkpoint would join them again (Zamba2)."""
    model = tiny.lm("llama")
    first, second = model.layer_modules
    second.mlp.down_proj.weight = first.mlp.down_proj.weight
    with pytest.raises(InputError, match="layer 0 of tiny-llama shares the weights behind"):
        bake(model, Units([0], [3]))


def test_hooks_that_a_compiler_traces_are_refused(monkeypatch):
    model = tiny.lm("llama")
    with hook_site(model, "mlp.act", lambda layer, value: None):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        with pytest.raises(RunError, match="a function around the model is compiled"):
            run(model)


def test_an_encoder_and_a_decoder_are_refused_when_wrapped():
    from transformers import MT5Config, MT5ForConditionalGeneration

    config = MT5Config(vocab_size=300, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    with pytest.raises(InputError, match="kind 'mt5', an encoder and a decoder: give a decoder"):
        wrap(MT5ForConditionalGeneration(config), tiny.tokenizer(), "mt5")
