"""Routers of mixtures are read as each family defines them, in every implementation."""

import pytest
import torch

import mixtures
import tiny
from langneurons.errors import InputError, RunError
from langneurons.models import hook_site
from langneurons.models.experts import rerouting

IDS = torch.arange(2 * 7).reshape(2, 7) + 5


def routed(model, **options):
    """Layer to (routing weights read at the site, input of the router)."""
    found, inputs, handles = {}, {}, []
    for number, router in mixtures.routers(model).items():

        def keep(_module, args, number=number):
            inputs[number] = args[0].detach().clone()

        handles.append(router.register_forward_pre_hook(keep))
    with (
        torch.no_grad(),
        hook_site(model, "moe.router", lambda layer, x: found.__setitem__(layer, x.clone())),
    ):
        model.model(input_ids=IDS, **options)
    for handle in handles:
        handle.remove()
    return {layer: (found[layer], inputs[layer]) for layer in found}


@pytest.mark.parametrize("family", mixtures.FAMILIES)
def test_routing_weights_by_hand(family):
    model = mixtures.lm(family)
    seen = routed(model)
    routers = mixtures.routers(model)
    assert list(seen) == list(routers) == list(model.sites["moe.router"].layers)
    for layer, (weights, hidden) in seen.items():
        assert weights.shape == (2, 7, mixtures.EXPERTS)
        expected = mixtures.weights(family, routers[layer], mixtures.logits(routers[layer], hidden))
        torch.testing.assert_close(
            weights.reshape(-1, mixtures.EXPERTS).double(), expected, rtol=1e-4, atol=1e-5
        )
        assert (expected > 0).sum() > 0


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_every_implementation_of_experts_is_read(implementation):
    model = mixtures.lm("Qwen2-MoE")
    eager = routed(model)
    model.model.set_experts_implementation(implementation)
    for layer, (weights, _) in routed(model).items():
        torch.testing.assert_close(weights, eager[layer][0], rtol=1e-4, atol=1e-5)


def test_layers_without_a_router_and_shared_experts():
    """Layer 1 of this Qwen2-MoE is dense; the others have a shared expert, which is an MLP."""
    model = mixtures.lm("Qwen2-MoE")
    assert model.sites["moe.router"].widths == (6, 0, 6)
    assert model.sites["mlp.act"].widths == (24, 48, 24)
    shared = model.layer_modules[0].mlp.shared_expert
    assert model.sites["mlp.out"].modules[0] is shared.down_proj
    with pytest.raises(InputError, match=r"layer 1 of Qwen2-MoE has no 'moe.router'"):
        hook_site(model, "moe.router", lambda *_: None, [1]).__enter__()


def test_new_weights_reach_the_experts():
    """At the site a returned tensor gives the chosen experts new weights: twice each, here."""
    model = mixtures.lm("Mixtral")
    block = model.layer_modules[2].mlp
    with torch.no_grad():
        outputs = []
        assert model.sites["moe.router"].width == 6  # found before the hook
        block.register_forward_hook(lambda _m, _a, out: outputs.append(out))
        model.model(input_ids=IDS)
        with hook_site(model, "moe.router", lambda _l, x: 2 * x, [2]):
            model.model(input_ids=IDS)
    torch.testing.assert_close(outputs[1], 2 * outputs[0])


def test_sites_that_a_mixture_or_a_dense_model_lacks():
    model = mixtures.lm("Mixtral")
    with pytest.raises(InputError, match=r"without dense layers.*use 'moe.act'.*moe\.router"):
        model.sites["mlp.act"]
    with pytest.raises(InputError, match="no mixture of experts"):
        tiny.lm().sites["moe.router"]
    assert model.sites["attn.out"].width == 32


class Unstacked(torch.nn.Module):
    """Experts as a list of modules, as code outside Transformers 5 has them."""

    def __init__(self, experts):
        super().__init__()
        self.experts = torch.nn.ModuleList(experts)

    def forward(self, hidden):
        return sum(expert(hidden) for expert in self.experts)


def test_experts_of_another_shape_are_refused():
    model = tiny.lm()
    layer = model.layer_modules[1]
    layer.mlp = Unstacked([layer.mlp, layer.mlp])
    with pytest.raises(InputError, match=r"\(layer 1: mlp.experts .*whose routing cannot be read"):
        model.sites["moe.router"]


def test_kernels_of_their_own_are_refused():
    model = mixtures.lm("Mixtral")
    experts = model.sites["moe.router"].modules[0]
    with hook_site(model, "moe.router", lambda *_: None), pytest.raises(RunError, match="kernels"):
        experts(torch.zeros(3, 32))


def test_a_shared_expert_is_read_and_changed_as_an_mlp():
    """Its module sees (batch x sequence, units), the dense layer's (batch, sequence, units)."""
    model = mixtures.lm("Qwen2-MoE")
    seen, inputs = {}, {}
    for number in (0, 1):
        mlp = model.layer_modules[number].mlp
        mlp = getattr(mlp, "shared_expert", mlp)
        mlp.down_proj.register_forward_pre_hook(
            lambda _m, args, number=number: inputs.__setitem__(number, args[0].clone())
        )
    with (
        torch.no_grad(),
        hook_site(model, "mlp.out", lambda layer, x: seen.__setitem__(layer, x.clone())),
    ):
        model.model(input_ids=IDS)
    assert seen[0].shape == (2, 7, 24)
    assert seen[1].shape == (2, 7, 48)
    for number in (0, 1):
        assert torch.equal(seen[number].flatten(0, -2), inputs[number].flatten(0, -2))


def test_an_expert_that_is_chosen_twice():
    """Its weights add up, and a new weight is shared out again."""
    model = mixtures.lm("Mixtral")
    module = model.sites["moe.router"].modules[0]
    hidden, index = torch.randn(2, 32), torch.tensor([[1, 1], [0, 2]])
    weights = torch.tensor([[0.25, 0.5], [0.6, 0.4]])
    seen = []
    with torch.no_grad():
        plain = module(hidden, index, weights)
        hook = rerouting(model.sites["moe.router"].experts[0], lambda x: seen.append(x) or 2 * x)
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
        doubled = module(hidden, top_k_index=index, top_k_weights=weights)
        handle.remove()
    expected = torch.tensor([[0, 0.75, 0, 0, 0, 0], [0.6, 0, 0.4, 0, 0, 0]])
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(doubled, 2 * plain)
