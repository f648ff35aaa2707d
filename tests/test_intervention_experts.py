"""Experts switched off, and logits changed, against the definition of each family's router."""

import copy

import pytest
import torch

import langneurons as ln
import mixtures
import tiny
from langneurons.errors import InputError, RunError
from langneurons.identification import Units
from langneurons.intervention import Intervention, bake, intervene
from test_models_experts import IDS, routed

OFF = 3


def experts(model, index=OFF):
    return Units.from_pairs([(layer, index) for layer in model.sites["moe.router"].layers])


def by_hand(family, model, seen, change, off=()):
    """Compare the routing weights of a run with those of logits changed by hand."""
    routers = mixtures.routers(model)
    for layer, (weights, hidden) in seen.items():
        values = change(mixtures.logits(routers[layer], hidden))
        expected = mixtures.weights(family, routers[layer], values, off)
        torch.testing.assert_close(
            weights.reshape(-1, mixtures.EXPERTS).double(), expected, rtol=2e-4, atol=2e-5
        )


@pytest.mark.parametrize("family", mixtures.FAMILIES)
def test_an_expert_that_is_off_is_never_chosen(family):
    model = mixtures.lm(family)
    before = routed(model)
    assert any((weights[..., OFF] > 0).any() for weights, _ in before.values())
    with intervene(model, experts(model), site="moe.router"):
        seen = routed(model)
    by_hand(family, model, seen, lambda values: values, (OFF,))
    assert all((weights[..., OFF] == 0).all() for weights, _ in seen.values())
    after = routed(model)
    assert all(torch.equal(after[layer][0], before[layer][0]) for layer in before)


def plus(values):
    values[:, OFF] += 0.7
    return values


def times(values):
    values[:, OFF] *= 1.5
    return values


def steered(values):
    values[:, OFF] += 1.5 * values[:, OFF].abs()
    return values


@pytest.mark.parametrize("family", mixtures.FAMILIES)
@pytest.mark.parametrize(
    ("mode", "value", "change"),
    [("add", 0.7, plus), ("multiply", 1.5, times), ("steer", 1.5, steered)],
)
def test_changed_logits(family, mode, value, change):
    model = mixtures.lm(family)
    before = routed(model)
    with intervene(model, experts(model), value, mode, site="moe.router"):
        seen = routed(model)
    by_hand(family, model, seen, change)
    assert any(not torch.equal(seen[layer][0], before[layer][0]) for layer in before)


def outputs(model, **options):
    with torch.no_grad():
        return model.model(input_ids=IDS, **options).logits


def test_off_equals_a_router_bias_edited_by_hand():
    """gpt-oss has a bias for each expert: -inf there is the same model, to the last bit."""
    model = mixtures.lm("gpt-oss")
    edited = copy.deepcopy(model.model)
    for layer in edited.model.layers:
        layer.mlp.router.bias.data[OFF] = -torch.inf
    with torch.no_grad():
        expected = edited(input_ids=IDS).logits
    with intervene(model, experts(model), site="moe.router"):
        assert torch.equal(outputs(model), expected)
    for layer in edited.model.layers:
        layer.mlp.router.bias.data[:] = layer.mlp.router.bias.data.nan_to_num(neginf=0)
        layer.mlp.router.bias.data[OFF] = 0
    assert not torch.equal(outputs(model), expected)


def test_the_published_mask_is_the_same():
    """Their mask writes -1e9 to the logit before the model's own top-k."""
    model = mixtures.lm("Qwen3-MoE")
    with intervene(model, experts(model), -1e9, "add", site="moe.router"):
        masked = outputs(model)
    with intervene(model, experts(model), site="moe.router"):
        torch.testing.assert_close(outputs(model), masked)


def test_scopes_reach_routers():
    """Only tokens from position 4 on: those before are routed as without."""
    model = mixtures.lm("OLMoE")
    plain = routed(model)
    with intervene(model, experts(model), site="moe.router", start=4):
        seen = routed(model)
    first = min(plain)
    assert torch.equal(seen[first][0][:, :4], plain[first][0][:, :4])
    assert (seen[first][0][:, 4:, OFF] == 0).all()
    assert (plain[first][0][..., OFF] > 0).any()


def test_decoding_with_a_cache_and_generated_only():
    model = mixtures.lm("Mixtral")
    with intervene(model, experts(model), site="moe.router", scope="generated"):
        cached = model.model.generate(IDS, max_new_tokens=5, do_sample=False)
        plain = model.model.generate(IDS, max_new_tokens=5, do_sample=False, use_cache=False)
    assert torch.equal(cached, plain)


def test_several_act_in_order_and_off_stays_off():
    model = mixtures.lm("Mixtral")
    off = Intervention(experts(model), site="moe.router")
    again = Intervention(experts(model), 5.0, "steer", site="moe.router")
    zero = Intervention(experts(model), 0.0, "multiply", site="moe.router")
    with intervene(model, [off, again, zero]):
        seen = routed(model)
    by_hand("Mixtral", model, seen, lambda values: values, (OFF,))
    one = Intervention(experts(model), 1.0, "add", site="moe.router")
    two = Intervention(experts(model), 2.0, "multiply", site="moe.router")

    def change(values):
        values[:, OFF] = (values[:, OFF] + 1) * 2
        return values

    with intervene(model, one), intervene(model, two):
        by_hand("Mixtral", model, routed(model), change)
    assert "forward" not in mixtures.routers(model)[0].__dict__


def test_too_few_experts_left_is_refused():
    model = mixtures.lm("Mixtral")
    some = Units.from_pairs([(1, index) for index in range(5)])
    with (
        pytest.raises(InputError, match=r"5 experts off in layer 1 .* leave 1, .* to 2 of 6"),
        intervene(model, some, site="moe.router"),
    ):
        pass
    first = Intervention(Units.from_pairs([(1, 0), (1, 1), (1, 2)]), site="moe.router")
    second = Intervention(Units.from_pairs([(1, 3), (1, 4)]), site="moe.router")
    with intervene(model, [first, second]), pytest.raises(RunError, match="leave fewer than the 2"):
        outputs(model)
    assert "forward" not in mixtures.routers(model)[1].__dict__


def test_what_an_expert_cannot_be_set_to():
    model = mixtures.lm("Mixtral")
    for value in (0.5, ln.Value.clip(0, 1), ln.Value.unit(0, 1)):
        with pytest.raises(InputError, match="an expert cannot be set to"):
            Intervention(experts(model), value, site="moe.router")
    with pytest.raises(InputError, match=r"cannot be switched off by weights"):
        bake(model, experts(model), site="moe.router")


def test_steering_is_a_mode_of_every_site():
    """x + v abs(x), against the activation computed without."""
    model = tiny.lm()
    units = Units.from_pairs([(1, 3), (1, 7)])
    seen = []

    def keep(_layer, x):
        seen.append(x.clone())

    with torch.no_grad(), ln.models.hook_site(model, "mlp.act", keep, [1]):
        model.model(input_ids=IDS)
    with (
        torch.no_grad(),
        intervene(model, units, 0.5, "steer"),
        ln.models.hook_site(model, "mlp.act", keep, [1]),
    ):
        model.model(input_ids=IDS)
    expected = seen[0].clone()
    expected[..., [3, 7]] += 0.5 * expected[..., [3, 7]].abs()
    torch.testing.assert_close(seen[1], expected)
    with pytest.raises(InputError, match="depends on the sign of each value"):
        bake(model, Intervention(units, 0.5, "steer"))


class Odd(torch.nn.Module):
    """A router whose logits come from no linear map."""

    def __init__(self, router):
        super().__init__()
        self.weight, self.inner = router.weight, [router]

    def forward(self, hidden):
        values = (hidden.unsqueeze(1) * self.weight).sum(-1)
        top, index = torch.topk(values, 2)
        return values, top.softmax(-1), index


class Table(torch.nn.Module):
    """A router that chooses by a table and not by its logits (first layers of DeepSeek V4)."""

    def __init__(self, router):
        super().__init__()
        self.weight = router.weight

    def forward(self, hidden):
        values = torch.nn.functional.linear(hidden, self.weight)
        index = torch.tensor([OFF, 0]).expand(len(hidden), -1)
        return values, values.sigmoid().gather(-1, index), index


def test_a_choice_that_does_not_follow_the_logits_is_said():
    model = mixtures.lm("Mixtral")
    model.layer_modules[1].mlp.gate = Table(model.layer_modules[1].mlp.gate)
    first = Units.from_pairs([(0, OFF), (2, OFF)])
    with intervene(model, first, site="moe.router"):
        outputs(model)
    with (
        intervene(model, experts(model), site="moe.router"),
        pytest.raises(RunError, match="chose an expert that is off: it chooses by more"),
    ):
        outputs(model)


def test_logits_that_cannot_be_reached_are_said():
    model = mixtures.lm("Mixtral")
    for layer in model.layer_modules:
        layer.mlp.gate = Odd(layer.mlp.gate)
    with (
        intervene(model, experts(model), site="moe.router"),
        pytest.raises(RunError, match="computes no logit for each expert in one linear map"),
    ):
        outputs(model)
