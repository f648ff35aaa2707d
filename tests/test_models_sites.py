"""Sites of every family: found by structure, held against hand-written computations."""

import contextlib
import copy

import pytest
import torch
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import tiny
from handwritten import FORWARDS, untouched
from langneurons.errors import InputError, RunError
from langneurons.models import hook_site, wrap
from langneurons.models.projection import matrix

IDS = torch.arange(3, 23).reshape(2, 10)
# Name of the activation module in a layer, from reading the models.
ACTIVATION = {
    "phi": "mlp.activation_fn",
    "phi3": "mlp.activation_fn",
    "glm": "mlp.activation_fn",
    "gpt2": "mlp.act",
    "gpt_neox": "mlp.act",
    "falcon": "mlp.act",
    "falcon-heads": "mlp.act",
    "falcon-groups": "mlp.act",
    "bloom": "mlp.gelu_impl",
    "opt": "activation_fn",
    "xglm": "activation_fn",
}
FUSED = {"phi3", "glm"}


def run(lm, **options):
    with torch.no_grad():
        return lm.model(input_ids=IDS, **options).logits


def seen(lm, *sites):
    """What each site holds in one pass: site -> tensor (layers, batch, sequence, units)."""
    found = {site: {} for site in sites}

    def keep(site):
        return lambda layer, value: found[site].__setitem__(layer, value.clone())

    with contextlib.ExitStack() as stack:
        for site in sites:
            stack.enter_context(hook_site(lm, site, keep(site)))
        run(lm)
    return {
        site: torch.stack([v[layer] for layer in range(lm.layers)]) for site, v in found.items()
    }


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_site_has_its_shape(family):
    lm = tiny.lm(family)
    values = seen(lm, *tiny.SITES)
    for site in tiny.SITES:
        assert values[site].shape == (tiny.LAYERS, 2, 10, lm.sites[site].width), site
    assert lm.sites["mlp.act"].width == (4 * tiny.HIDDEN if family == "bloom" else tiny.UNITS)
    assert lm.sites["attn.head"].width == tiny.HEADS
    norms = values["attn.out"].unflatten(-1, (tiny.HEADS, -1)).norm(dim=-1)
    torch.testing.assert_close(values["attn.head"], norms)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_finder_agrees_with_tables_of_names(family):
    lm = tiny.lm(family)
    plan = lm.sites.mlps[0]
    assert lm.sites.mlps[1].activation.path == plan.activation.path
    assert plan.activation.path == ACTIVATION.get(family, "mlp.act_fn")
    kind = tiny.FAMILIES[family][0]
    table = TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING
    known = {**table, "phi3": ["down_proj"], "glm": ["down_proj"], "xglm": ["fc2"]}
    if kind in known:
        assert any(plan.down.path.endswith(name.rpartition(".")[2]) for name in known[kind])
    assert plan.direct
    assert (plan.up is not None and plan.up.path == plan.into.path) == (family in FUSED)
    assert (plan.up is None) == (family in ACTIVATION and family not in FUSED)
    assert len({id(module) for module in lm.sites["mlp.act"].modules}) == tiny.LAYERS


def exact(family):
    """In float64, except XGLM, whose mask overflows there."""
    net = tiny.model(family)
    return wrap(net if family == "xglm" else net.double(), tiny.tokenizer())


def close(lm):
    tolerance = 1e-9 if lm.dtype == torch.float64 else 1e-5
    return {"rtol": tolerance, "atol": tolerance}


def linear(projection, x):
    bias = projection.bias()
    return x @ projection.matrix().T + (0 if bias is None else bias)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_mlp_of_every_family_by_hand(family):
    lm = exact(family)
    inputs, outputs = {}, {}
    handles = []
    for layer in range(lm.layers):
        gate, down = lm.sites.gates[layer].module, lm.sites.downs[layer]
        handles += [
            gate.register_forward_pre_hook(lambda m, a, n=layer: inputs.__setitem__(n, a[0])),
            # Falcon adds the attention output onto this tensor in place.
            down.register_forward_hook(lambda m, a, o, n=layer: outputs.__setitem__(n, o.clone())),
        ]
    units = torch.tensor([1, 7, 40])

    def zero(layer, activation):
        return activation.index_fill(-1, units, 0.0)

    with hook_site(lm, "mlp.act", zero):
        run(lm)
    for handle in handles:
        handle.remove()
    for layer in range(lm.layers):
        pre = linear(lm.sites.gates[layer], inputs[layer])
        act = lm.sites["mlp.act"].modules[layer](pre).index_fill(-1, units, 0.0)
        out = act if lm.sites.ups is None else act * linear(lm.sites.ups[layer], inputs[layer])
        down = lm.sites.downs[layer]
        expected = out @ matrix(down).T + (0 if down.bias is None else down.bias)
        torch.testing.assert_close(outputs[layer], expected, **close(lm))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_query_key_and_value_columns_are_what_they_say(family):
    lm = exact(family)

    def zeroed(site, columns=slice(None)):
        def zero(layer, value):
            value = value.clone()
            value[..., columns] = 0
            return value

        with hook_site(lm, site, zero):
            return seen(lm, "attn.out", "attn.head")

    base = seen(lm, "attn.out")["attn.out"]
    no_query, no_key = zeroed("attn.q")["attn.out"][0], zeroed("attn.k")["attn.out"][0]
    # Without queries or without keys all scores are 0, so both give the same mixture.
    torch.testing.assert_close(no_query, no_key, **close(lm))
    assert (no_query - base[0]).abs().max() > 1e-3
    assert zeroed("attn.v")["attn.out"][0].abs().max() == 0
    # The values of one key head reach exactly the query heads that share it.
    groups = lm.sites["attn.v"].width // (base.shape[-1] // tiny.HEADS)
    size, shared = lm.sites["attn.v"].width // groups, tiny.HEADS // groups
    for group in range(groups):
        norms = zeroed("attn.v", slice(group * size, (group + 1) * size))["attn.head"][0]
        silent = (norms == 0).all(dim=(0, 1)).nonzero().flatten().tolist()
        assert silent == list(range(group * shared, (group + 1) * shared))


@pytest.mark.parametrize("family", FORWARDS)
def test_the_handwritten_forward_is_the_model(family):
    net = tiny.model(family).double()
    net.config._attn_implementation = "eager"
    with torch.no_grad():
        expected = net(input_ids=IDS).logits
        assert (FORWARDS[family](net, IDS, untouched) - expected).abs().max() < 2e-5


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_the_mlp_of_a_mixture_without_dense_layers_is_refused(kind):
    config = AutoConfig.for_model(
        kind, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=300, num_local_experts=4,
        num_experts=4, num_experts_per_tok=2, head_dim=8,
    )  # fmt: skip
    lm = wrap(AutoModelForCausalLM.from_config(config), tiny.tokenizer(), "experts")
    with pytest.raises(InputError, match=r"mixture of experts \(layer 0: mlp"):
        lm.sites["mlp.act"]


class FusedMLP(nn.Module):
    def __init__(self, mlp, function):
        super().__init__()
        self.gate_proj, self.down_proj = mlp.gate_proj, mlp.down_proj
        self.function = (function,)

    def forward(self, x):
        return self.down_proj(self.function[0](self.gate_proj(x)))


def fused(function):
    net = tiny.model("llama")
    for layer in net.model.layers:
        layer.mlp = FusedMLP(layer.mlp, function)
    return wrap(net, tiny.tokenizer())


def test_a_model_without_an_mlp_names_what_it_has():
    lm = fused(torch.sin)
    with pytest.raises(InputError, match=r"no module between.*mlp\.gate_proj \(Linear 32 to 48\)"):
        lm.sites["mlp.act"]
    with pytest.raises(InputError, match=r"unknown site 'mlp.atc'. Did you mean 'mlp.act'"):
        lm.sites["mlp.atc"]


def test_an_activation_that_is_a_plain_function():
    lm = fused(nn.functional.gelu)
    with pytest.raises(InputError, match="is a plain function and no module, so its output cannot"):
        lm.sites["mlp.act"]
    values = seen(lm, "mlp.pre", "mlp.out")
    torch.testing.assert_close(nn.functional.gelu(values["mlp.pre"]), values["mlp.out"])


def test_a_forward_that_skips_the_module_is_noticed():
    lm = tiny.lm("llama")
    mlp = lm.layer_modules[1].mlp
    with hook_site(lm, "mlp.act", lambda layer, value: None):
        mlp.forward = FusedMLP(mlp, torch.relu).forward
        with pytest.raises(RunError, match=r"'mlp.act' in layer 1 was not called"):
            run(lm)


def hooks(lm):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules()
    )


@pytest.mark.parametrize("family", ["llama", "opt", "bloom"])
def test_hooks_go_and_only_ours_go(family):
    lm = tiny.lm(family)
    calls = []
    other = lm.sites["mlp.act"].modules[0].register_forward_hook(lambda *_: calls.append(1))
    before, plain = hooks(lm), run(lm)
    for site in tiny.SITES:
        with pytest.raises(ZeroDivisionError), hook_site(lm, site, lambda layer, value: 1 / 0):
            run(lm)
        with (
            hook_site(lm, site, lambda layer, value: value * 2),
            hook_site(lm, "mlp.act", lambda layer, value: value * 3, layers=[1]),
        ):
            assert not torch.equal(run(lm), plain)
        assert hooks(lm) == before
    calls.clear()
    assert torch.equal(run(lm), plain)
    assert calls == [1]
    other.remove()


def test_hooks_see_what_adapters_add():
    from peft import LoraConfig, get_peft_model

    lm = tiny.lm("llama")
    targets = ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(lm.model, LoraConfig(target_modules=targets, init_lora_weights=False))
    wrapped = lm.with_model(adapted.eval())
    values = seen(wrapped, *tiny.SITES)
    merged = wrap(copy.deepcopy(adapted).merge_and_unload(), lm.tokenizer)
    for site, expected in seen(merged, *tiny.SITES).items():
        torch.testing.assert_close(values[site], expected, rtol=1e-4, atol=1e-4)


def test_a_layer_that_is_not_there():
    lm = tiny.lm("llama")
    with (
        pytest.raises(InputError, match="no layer 2: tiny-llama has layers 0 to 1"),
        hook_site(lm, "mlp.act", lambda layer, value: None, layers=[2]),
    ):
        pass


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_residual_stream_is_what_the_next_layer_reads(family):
    lm = tiny.lm(family)
    with torch.no_grad():
        states = lm.backbone(input_ids=IDS, output_hidden_states=True).hidden_states
    values = seen(lm, "resid")["resid"]
    assert lm.sites["resid"].width == tiny.HIDDEN
    torch.testing.assert_close(values[0], states[1])
    read = []
    with hook_site(lm, "resid", lambda layer, value: value * 0 + 0.5, layers=[0]):
        hook = lm.layer_modules[1].register_forward_pre_hook(
            lambda _, args, kwargs: read.append(args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        )
        run(lm)
        hook.remove()
    assert torch.equal(read[0], torch.full_like(read[0], 0.5))
