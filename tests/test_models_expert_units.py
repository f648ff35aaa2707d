"""Units inside routed experts, read and written as each family defines them, however they run."""

import pytest
import torch
from torch.nn import functional

import mixtures
import tiny
from langneurons.errors import InputError, RunError
from langneurons.models import expert_units, hook_experts, hook_site

IDS = torch.arange(2 * 7).reshape(2, 7) + 5
STAGES = ("pre", "act", "out")
IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")


def cases():
    for family in mixtures.FAMILIES:
        for implementation in IMPLEMENTATIONS:
            if not family.startswith("Llama") or implementation == "eager":  # it has one way
                yield family, implementation


def build(family, implementation="eager"):
    model = mixtures.lm(family)
    if not family.startswith("Llama"):
        model.model.set_experts_implementation(implementation)
    return model


def read(model, site):
    """Layer to the rows of experts that ran."""
    found = {}
    with torch.no_grad(), hook_experts(model, site, found.__setitem__):
        model.model(input_ids=IDS)
    return found


def routing(model):
    """Layer to (input of the experts by token, weights (tokens, experts)), seen from outside."""
    seen, weights, handles = {}, {}, []
    for number, layer in enumerate(model.layer_modules):
        for name, module in layer.named_modules():
            if name.endswith(".experts"):

                def keep(_module, args, kwargs, number=number):
                    seen[number] = (*args, *kwargs.values())[0].detach().clone()

                handles.append(module.register_forward_pre_hook(keep, with_kwargs=True))
    with torch.no_grad(), hook_site(model, "moe.router", weights.__setitem__):
        model.model(input_ids=IDS)
    for handle in handles:
        handle.remove()
    return {n: (seen[n], weights[n].reshape(-1, mixtures.EXPERTS)) for n in seen}


def by_hand(family, module, expert, hidden):
    """(pre, act, out) of one expert in float64, for rows (n, hidden size)."""
    x, weight = hidden.double(), module.gate_up_proj[expert].double()
    if family == "gpt-oss":
        both = x @ weight + module.gate_up_proj_bias[expert].double()
        gate, up = both[:, 0::2], both[:, 1::2]
        held = gate.clamp(max=7.0)
        act = held * torch.sigmoid(1.702 * held)
        return gate, act, act * (up.clamp(-7.0, 7.0) + 1)
    both = x @ weight if family.startswith("Llama") else x @ weight.T
    gate, up = both.chunk(2, dim=1)
    act = functional.silu(gate)
    return gate, act, act * up


@pytest.mark.parametrize(("family", "implementation"), cases())
def test_values_by_hand(family, implementation):
    model = build(family, implementation)
    outside = routing(model)
    found = {stage: read(model, f"moe.{stage}") for stage in STAGES}
    inner = model.sites["moe.act"].inner
    for layer, (hidden, weights) in outside.items():
        module = model.sites["moe.act"].modules[layer]
        for number, stage in enumerate(STAGES):
            routed = found[stage][layer]
            assert routed.values.shape == (int((weights != 0).sum()), inner)
            pairs = set(zip(routed.tokens.tolist(), routed.experts.tolist(), strict=True))
            assert pairs == {tuple(pair) for pair in (weights != 0).nonzero().tolist()}
            for row, expert in enumerate(routed.experts.tolist()):
                token = int(routed.tokens[row])
                x = hidden[token : token + 1]
                if family.startswith("Llama"):  # all experts are given all tokens, weighed
                    x = hidden[expert * len(weights) + token][None]
                expected = by_hand(family, module, expert, x)[number][0]
                torch.testing.assert_close(
                    routed.values[row].double(), expected, rtol=1e-4, atol=1e-5
                )


def logits(model):
    with torch.no_grad():
        return model.model(input_ids=IDS).logits


@pytest.mark.parametrize(("family", "implementation"), cases())
def test_reading_changes_nothing(family, implementation):
    """Grouped and batched run by the very same function; the loop differs by rounding."""
    model = build(family, implementation)
    plain = logits(model)
    for stage in STAGES:
        with hook_experts(model, f"moe.{stage}", lambda _l, r: r.values.clone()):
            same = logits(model)
        if implementation == "eager":
            torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(same, plain)
    assert torch.equal(logits(model), plain)


@pytest.mark.parametrize(("family", "implementation"), cases())
def test_zeros_written_equal_zeroed_columns(family, implementation):
    """Unit 3 of expert 4 at 0 (act and out): as if its column of the down projection were 0."""
    model = build(family, implementation)
    plain = logits(model)

    def off(_layer, routed):
        values = routed.values.clone()
        values[routed.experts == 4, 3] = 0
        return values

    changed = {}
    for stage in ("act", "out"):
        with hook_experts(model, f"moe.{stage}", off):
            changed[stage] = logits(model)
    for module in model.sites["moe.act"].modules.present:
        down = module.down_proj.data[4]
        (down if down.shape[0] == model.sites["moe.act"].inner else down.T)[3] = 0
    expected = logits(model)
    assert not torch.allclose(expected, plain)
    for stage in ("act", "out"):
        torch.testing.assert_close(changed[stage], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "implementation"), cases())
def test_what_is_written_before_is_read_behind(family, implementation):
    """A new input of the activation function gives its value there, for the rows written alone."""
    model = build(family, implementation)
    plain = read(model, "moe.act")
    first = min(plain)
    used = int(plain[first].experts.mode().values)
    with hook_experts(
        model, "moe.pre", lambda _l, r: torch.where((r.experts == used)[:, None], 0.5, r.values)
    ):
        found = read(model, "moe.act")
    half = torch.tensor(0.5)
    expected = half * torch.sigmoid(1.702 * half) if family == "gpt-oss" else functional.silu(half)
    mine = found[first].experts == used
    assert mine.any()
    assert not mine.all()
    torch.testing.assert_close(
        found[first].values[mine], expected.expand(int(mine.sum()), plain[first].values.shape[1])
    )
    torch.testing.assert_close(found[first].values[~mine], plain[first].values[~mine])
    with hook_experts(model, "moe.act", lambda _l, r: 2 * r.values):
        doubled = read(model, "moe.out")
    torch.testing.assert_close(
        doubled[first].values, 2 * read(model, "moe.out")[first].values, rtol=1e-4, atol=1e-5
    )


def test_experts_without_a_gate():
    """Nemotron-H: activation and input of the down projection are one."""
    model = mixtures.lm("Nemotron-H")
    for implementation in IMPLEMENTATIONS:
        model.model.set_experts_implementation(implementation)
        act, out, pre = (read(model, f"moe.{s}") for s in ("act", "out", "pre"))
        (layer,) = act
        torch.testing.assert_close(act[layer].values, out[layer].values)
        torch.testing.assert_close(act[layer].values, functional.relu(pre[layer].values).square())
        plain = logits(model)
        with hook_experts(model, "moe.act", lambda _l, r: torch.zeros_like(r.values)):
            assert not torch.equal(logits(model), plain)


def test_units_are_numbered_expert_by_expert_and_layers_may_lack_them():
    model = mixtures.lm("Qwen2-MoE")
    place = model.sites["moe.act"]
    assert place.widths == (6 * 16, 0, 6 * 16)
    assert (place.inner, place.chosen, place.common) == (16, 2, 96)
    seen = {}
    with torch.no_grad(), hook_site(model, "moe.act", lambda n, x: seen.__setitem__(n, x.clone())):
        model.model(input_ids=IDS)
    for layer, routed in read(model, "moe.act").items():
        expected = torch.zeros(14, 6 * 16)
        for row in range(len(routed.values)):
            expert, token = int(routed.experts[row]), int(routed.tokens[row])
            expected[token, expert * 16 : expert * 16 + 16] = routed.values[row]
        assert torch.equal(seen[layer].reshape(14, -1), expected)
    with pytest.raises(InputError, match=r"layer 1 of Qwen2-MoE has no 'moe.act'"):
        hook_experts(model, "moe.act", lambda *_: None, [1]).__enter__()


@pytest.mark.parametrize("family", ["Mixtral", "gpt-oss", "Llama 4 (text)"])
def test_written_through_the_spread_out_tensor(family):
    """hook_site on all units of all experts does what hook_experts does on rows, with gradients."""
    model = build(family)
    with hook_experts(model, "moe.act", lambda _l, r: r.values * 1.5):
        expected = logits(model)
    with hook_site(model, "moe.act", lambda _l, x: x * 1.5):
        torch.testing.assert_close(logits(model), expected)
    kept = []

    def keep(_layer, x):
        kept.append(x.detach().requires_grad_(True))
        return kept[-1]

    with hook_site(model, "moe.act", keep, [0]):
        model.model(input_ids=IDS).logits.square().sum().backward()
    gradient = kept[0].grad
    assert bool(gradient.any())
    assert not bool(gradient[kept[0] == 0].any())


def test_too_many_tokens_to_spread_out(monkeypatch):
    from langneurons.models import hooks

    model = build("Mixtral")
    monkeypatch.setattr(hooks, "DENSE_ELEMENTS", 100)
    with (
        hook_site(model, "moe.act", lambda *_: None),
        pytest.raises(RunError, match=r"14 tokens of 288 units at 'moe.act', .* smaller batch"),
    ):
        logits(model)
    assert len(read(model, "moe.act")) == 3


def test_nested_blocks_act_in_order_and_leave_nothing():
    model = build("Mixtral", "grouped_mm")
    plain = read(model, "moe.out")[0].values
    with (
        hook_experts(model, "moe.out", lambda _l, r: r.values + 1, [0]),
        hook_experts(model, "moe.out", lambda _l, r: r.values * 2, [0]),
    ):
        torch.testing.assert_close(read(model, "moe.out")[0].values, (plain + 1) * 2)
    module = model.sites["moe.out"].modules[0]
    assert not {"forward", "_apply_gate", "act_fn"} & set(module.__dict__)
    with pytest.raises(ZeroDivisionError), hook_experts(model, "moe.act", lambda *_: 1 / 0):
        logits(model)
    assert not {"forward", "_apply_gate", "act_fn"} & set(module.__dict__)


def test_dense_models_and_other_experts_have_no_such_units():
    with pytest.raises(InputError, match=r"no mixture of experts, so it has no 'moe.act'"):
        tiny.lm().sites["moe.act"]
    model = build("Mixtral")
    with pytest.raises(InputError, match=r"use 'moe.act', 'moe.pre' or 'moe.out'"):
        model.sites["mlp.act"]


def broken(change):
    model = build("Mixtral")
    change(model.layer_modules[1].mlp.experts)
    return model


def quantise(module):
    module.gate_up_proj = torch.nn.Parameter(
        module.gate_up_proj.data.to(torch.int8), requires_grad=False
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (quantise, "quantised"),
        (lambda m: delattr(m, "has_gate"), "by one of the functions"),
        (lambda m: setattr(m, "_apply_gate", lambda u: m.act_fn(u[:, :48])), "else"),
        (lambda m: setattr(m, "_apply_gate", lambda up: up[:, :48] * up[:, 48:]), "than once"),
        (lambda m: both_halves(m), "once in a pass on one tensor"),
        (lambda m: setattr(m, "_is_expert_parallel", True), "spread over processes"),
    ],
)
def test_experts_that_cannot_be_read_are_refused(change, reason):
    """The model's own forward runs in any case, so that only the units inside are refused."""
    model = broken(lambda module: None)
    _ = model.sites["moe.router"]
    change(model.layer_modules[1].mlp.experts)
    with pytest.raises(InputError, match=rf"\(layer 1\) cannot be read: .*{reason}.*moe.router"):
        model.sites["moe.act"]


def test_a_gate_that_is_written_out_without_a_function_of_its_own():
    """silu(gate) x up in the module's own code (HY V4): the activation is found as a factor."""
    model = build("Mixtral", "grouped_mm")
    expected = {site: read(model, site) for site in ("moe.act", "moe.out")}
    _ = model.sites["moe.router"]
    for layer in model.layer_modules:
        module = layer.mlp.experts
        module._apply_gate = lambda up: functional.silu(up[:, :48]) * up[:, 48:]
        del module.act_fn
    for site, found in expected.items():
        for layer, rows in read(model, site).items():
            torch.testing.assert_close(rows.values, found[layer].values)
    with hook_experts(model, "moe.act", lambda _l, r: 2 * r.values):
        doubled = read(model, "moe.out")[0].values
    torch.testing.assert_close(doubled, 2 * expected["moe.out"][0].values)


class Both(torch.nn.Module):
    """An activation function of both halves (Inkling 2)."""

    def forward(self, gate, up=1):
        return functional.silu(gate) * up


def both_halves(module):
    module.act_fn = Both()
    module._apply_gate = lambda up: module.act_fn(up[:, :48], up[:, 48:])


def test_layers_of_unlike_experts_are_refused():
    model = build("Mixtral")
    _ = model.sites["moe.router"]
    module = model.layer_modules[2].mlp.experts
    module.gate_up_proj.data = torch.randn(6, 80, 32)
    module.down_proj.data = torch.randn(6, 32, 40)
    with pytest.raises(InputError, match=r"\(layer 2\) cannot be read: they have 40 units, others"):
        model.sites["moe.act"]


def test_kernels_of_their_own_are_refused():
    model = build("Mixtral")
    _ = model.sites["moe.act"]
    model.model.config._experts_implementation_internal = "sonicmoe"
    with (
        hook_experts(model, "moe.act", lambda *_: None),
        pytest.raises(RunError, match=r"are run by 'sonicmoe'.*experts_implementation"),
    ):
        logits(model)
    model.model.config._experts_implementation_internal = "eager"
    module = model.sites["moe.act"].modules[0]
    with hook_experts(model, "moe.act", lambda *_: None), pytest.raises(RunError, match="without"):
        module(torch.zeros(3, 32))


def test_pieces_by_definition():
    experts = torch.tensor([0, 0, 2, 3, 3, 3])
    assert expert_units.pieces_of(experts, 5) == [(0, 0, 2), (2, 2, 3), (3, 3, 6)]


@pytest.mark.parametrize(
    ("family", "reason"),
    [("Mixtral", "ran by 'grouped_mm' without their gate"), ("Llama 4 (text)", "kernels of its")],
)
def test_a_forward_that_leaves_out_the_step_is_refused(family, reason):
    model = build(family, "grouped_mm")
    module = model.sites["moe.act"].modules[0]
    module.forward = lambda hidden, *_: torch.zeros_like(hidden)
    with hook_experts(model, "moe.act", lambda *_: None), pytest.raises(RunError, match=reason):
        logits(model)


def test_experts_kept_elsewhere_are_refused_where_they_are_looped_over():
    model = build("Mixtral")
    module = model.sites["moe.act"].modules[0]
    with hook_experts(model, "moe.act", lambda *_: None):
        module.down_proj = torch.nn.Parameter(module.down_proj.to("meta"), requires_grad=False)
        with pytest.raises(RunError, match="kept elsewhere while they do not run"):
            logits(model)
