"""Interventions on units inside experts, experts that are forced, and both in the weights."""

import copy
import types

import pytest
import torch

import langneurons as ln
import mixtures
from langneurons.errors import InputError, RunError
from langneurons.identification import Units
from langneurons.intervention import Intervention, bake, intervene
from langneurons.models import hook_experts
from test_models_expert_units import IDS, build, cases, logits, read
from test_models_experts import routed

TEXTS = {"en": ["the cat sat on the mat and the dog ran"], "de": ["die katze sass auf der matte"]}


def some(model, site="moe.act", step=7):
    """Every seventh unit of every layer that has experts."""
    place = model.sites[site]
    return Units.from_pairs([(n, i) for n in place.layers for i in range(0, place.widths[n], step)])


def changed_by(model, site, units, change):
    """Logits where ``change`` is done to the values of the units, row by row, in plain Python."""
    inner = model.sites[site].inner
    chosen = {layer: {i for n, i in units.pairs() if n == layer} for layer in range(model.layers)}

    def write(layer, rows):
        values = rows.values.clone()
        for n in range(len(values)):
            for i in range(inner):
                if int(rows.experts[n]) * inner + i in chosen[layer]:
                    values[n, i] = change(values[n, i], int(rows.tokens[n]))
        return values

    with hook_experts(model, site, write):
        return logits(model)


@pytest.mark.parametrize(("family", "implementation"), cases())
@pytest.mark.parametrize(
    ("mode", "value", "change"),
    [
        ("set", 0.0, lambda x, _t: 0 * x),
        ("set", 0.3, lambda x, _t: 0 * x + 0.3),
        ("multiply", -2.0, lambda x, _t: -2 * x),
    ],
)
def test_only_where_routed(family, implementation, mode, value, change):
    model = build(family, implementation)
    units = some(model)
    expected = changed_by(model, "moe.act", units, change)
    with intervene(model, units, value, mode, site="moe.act"):
        found = logits(model)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, logits(model))


@pytest.mark.parametrize("site", ["moe.pre", "moe.out"])
@pytest.mark.parametrize(
    ("mode", "value", "change"),
    [
        ("add", 0.5, lambda x, _t: x + 0.5),
        ("steer", 0.5, lambda x, _t: x + 0.5 * x.abs()),
        ("set", ln.Value.clip(-0.1, 0.2), lambda x, _t: x.clamp(-0.1, 0.2)),
    ],
)
def test_other_modes_and_sites(site, mode, value, change):
    model = build("gpt-oss", "grouped_mm")
    units = some(model, site)
    expected = changed_by(model, site, units, change)
    with intervene(model, units, value, mode, site=site):
        torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)


def test_scopes_touch_their_tokens_alone():
    model = build("OLMoE", "grouped_mm")
    units = some(model)
    for options, inside in (
        ({"start": 4}, lambda token: token % 7 >= 4),
        ({"scope": "last"}, lambda token: token % 7 == 6),
    ):
        expected = changed_by(
            model, "moe.act", units, lambda x, t, inside=inside: 0 * x if inside(t) else x
        )
        with intervene(model, units, site="moe.act", **options):
            torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    with intervene(model, units, site="moe.act", scope="generated"):
        cached = model.model.generate(IDS, max_new_tokens=5, do_sample=False)
        plain = model.model.generate(IDS, max_new_tokens=5, do_sample=False, use_cache=False)
        assert torch.equal(cached, plain)


def test_several_interventions_in_order():
    model = build("Mixtral", "grouped_mm")
    units = some(model)
    expected = changed_by(model, "moe.act", units, lambda x, _t: (x + 1) * 2)
    one = Intervention(units, 1.0, "add", site="moe.act")
    two = Intervention(units, 2.0, "multiply", site="moe.act")
    with intervene(model, [one, two]):
        torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    with intervene(model, one), intervene(model, two):
        torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)


def test_statistics_written_are_those_of_routed_tokens():
    """The mean over all tokens would be nearly 0; a unit that was never routed has none."""
    model = build("Mixtral", "grouped_mm")
    stats = ln.collect(model, TEXTS, site="moe.act", block=16, rows=50)
    inside = stats.read_as("routed", least=1)
    units = some(model)
    here = inside.mean("en")[units.layers, units.indices].isfinite()
    known = Units(units.layers[here], units.indices[here])
    for value, read_value in (
        (ln.Value.mean(stats, "en"), inside.mean("en")),
        (ln.Value.quantile(stats, "en", 0.9), inside.quantile("en", 0.9)),
    ):
        with intervene(model, known, value, site="moe.act"):
            seen = read(model, "moe.act")
        written = False
        for layer, index in known.pairs():
            rows = seen[layer].values[seen[layer].experts == index // 48, index % 48]
            wanted = read_value[layer, index].float().expand_as(rows)
            torch.testing.assert_close(rows, wanted)
            written |= len(rows) > 0
        assert written
    if not bool(here.all()):
        with (
            pytest.raises(InputError, match=r"'mean' of unit .* is not known: no token of that"),
            intervene(model, units, ln.Value.mean(stats, "en"), site="moe.act"),
        ):
            pass
    absent = Units.from_pairs([(0, 0)])
    value = ln.Value.of(torch.full((3, 288), torch.nan))
    with (
        pytest.raises(InputError, match=r"unit \(0, 0\) is not known"),
        intervene(model, absent, value, site="moe.act"),
    ):
        pass


def test_what_units_inside_experts_cannot_be_set_to():
    model = build("Mixtral")
    with (
        pytest.raises(InputError, match=r"another unit's value cannot be taken at 'moe.act'"),
        intervene(model, some(model), ln.Value.unit(0, 1), site="moe.act"),
    ):
        pass


def test_a_value_that_is_no_number_is_refused_at_every_site():
    import tiny

    model = tiny.lm()
    value = ln.Value.of(torch.full((2, 48), torch.nan))
    with (
        pytest.raises(InputError, match=r"'given' of unit \(1, 3\) is no number"),
        intervene(model, Units.from_pairs([(1, 3)]), value),
    ):
        pass


@pytest.mark.parametrize("site", ["moe.act", "moe.out"])
@pytest.mark.parametrize("family", mixtures.FAMILIES)
def test_baked_is_the_same_model(family, site, tmp_path):
    """Off and multiplied units, by columns of the down projection; saved, it needs no hook."""
    model = build(family)
    units = some(model, site)
    before = copy.deepcopy(model.model.state_dict())
    for what in (Intervention(units, site=site), Intervention(units, 1.5, "multiply", site=site)):
        with intervene(model, what):
            expected = logits(model)
        baked = bake(model, what)
        torch.testing.assert_close(logits(baked), expected, rtol=1e-4, atol=1e-5)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    baked.model.save_pretrained(tmp_path)
    again = type(baked.model).from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, logits(baked))


def test_weights_of_64_bits_are_scaled_in_64():
    model = mixtures.lm("Mixtral")
    model.model.double().set_experts_implementation("eager")
    model = ln.LanguageModel(model.model, model.tokenizer, "double")
    baked = bake(model, some(model), 1.5, "multiply", site="moe.act")
    for name, weight in model.model.state_dict().items():
        now = baked.model.state_dict()[name]
        assert bool(((now == weight) | (now == 1.5 * weight)).all()), name


def test_constants_are_held_by_the_bias_where_there_is_one():
    model = build("gpt-oss")
    units = some(model, "moe.out")
    with intervene(model, units, 0.5, site="moe.out"):
        expected = logits(model)
    baked = bake(model, units, 0.5, site="moe.out")
    torch.testing.assert_close(logits(baked), expected, rtol=1e-4, atol=1e-5)
    for family, site in (("gpt-oss", "moe.act"), ("Mixtral", "moe.out")):
        other = build(family)
        with pytest.raises(InputError, match="has no bias that could hold it"):
            bake(other, some(other, site), 0.5, site=site)


def clamped(module, up):
    return module.act_fn(up[:, :48]).clamp(max=0.1) * up[:, 48:]


def test_an_activation_that_is_clamped_is_not_baked():
    """Behind the activation function something that is no product: not its column alone."""
    model = build("Mixtral")
    for layer in model.layer_modules:
        module = layer.mlp.experts
        module._apply_gate = types.MethodType(clamped, module)
        module.config._experts_implementation_internal = "grouped_mm"
    with pytest.raises(InputError, match="lies between the activation and the down projection"):
        bake(model, some(model), site="moe.act")
    with intervene(model, some(model, "moe.out"), site="moe.out"):
        expected = logits(model)
    torch.testing.assert_close(
        logits(bake(model, some(model, "moe.out"), site="moe.out")), expected
    )


EXPERT = 3


def experts(model):
    return Units.from_pairs([(layer, EXPERT) for layer in model.sites["moe.router"].layers])


@pytest.mark.parametrize("family", [name for name in mixtures.FAMILIES if name != "Phi-3.5-MoE"])
def test_forced_experts_are_always_chosen(family):
    """Weights by the family's definition, of the chosen ones with the forced one first."""
    model = mixtures.lm(family)
    with intervene(model, experts(model), mode="force", site="moe.router"):
        seen = routed(model)
    routers = mixtures.routers(model)
    for layer, (weights, hidden) in seen.items():
        found = weights.reshape(-1, mixtures.EXPERTS).double()
        values = mixtures.logits(routers[layer], hidden)
        k = model.sites["moe.router"].experts[layer].chosen
        assert bool((found[:, EXPERT] > 0).all())
        assert bool(((found > 0).sum(1) == k).all())
        for row, got in zip(values, found, strict=True):
            chosen = (got > 0).nonzero()[:, 0]
            picked = row[chosen]
            if family in ("DeepSeek-V3", "GLM-4.5-MoE"):
                wanted = 2.5 * picked.sigmoid() / picked.sigmoid().sum()
            elif family in ("Qwen2-MoE", "OLMoE"):
                wanted = row.softmax(0)[chosen]
            elif family.startswith("Llama"):
                wanted = picked.sigmoid()
            else:
                wanted = picked.softmax(0)
            torch.testing.assert_close(got[chosen], wanted, rtol=1e-4, atol=1e-5)
            if family not in ("DeepSeek-V3", "GLM-4.5-MoE"):  # those choose by groups and a bias
                rest = row.clone()
                rest[EXPERT] = torch.inf
                assert set(chosen.tolist()) == set(rest.topk(k).indices.tolist())


def test_what_cannot_be_forced():
    model = mixtures.lm("Phi-3.5-MoE")
    with (
        intervene(model, experts(model), mode="force", site="moe.router"),
        pytest.raises(RunError, match="did not choose an expert that is forced"),
    ):
        logits(model)
    model = mixtures.lm("Mixtral")
    many = Units.from_pairs([(1, index) for index in range(3)])
    with (
        pytest.raises(InputError, match=r"3 experts forced in layer 1 .* sent to 2 of 6"),
        intervene(model, many, mode="force", site="moe.router"),
    ):
        pass
    for options in ({"site": "mlp.act"}, {"site": "moe.router", "value": 0.5}):
        with pytest.raises(InputError, match="mode 'force' is of experts"):
            Intervention(many, mode="force", **options)
    forced = Intervention(experts(model), mode="force", site="moe.router")
    assert forced.name == "force"
    off = Intervention(experts(model), site="moe.router")
    with intervene(model, [forced, off]):  # off stays off
        for weights, _ in routed(model).values():
            assert not bool(weights[..., EXPERT].any())


def test_forced_at_some_tokens():
    model = mixtures.lm("OLMoE")
    plain = routed(model)
    with intervene(model, experts(model), mode="force", site="moe.router", start=4):
        seen = routed(model)
    first = min(plain)
    assert torch.equal(seen[first][0][:, :4], plain[first][0][:, :4])
    assert bool((seen[first][0][:, 4:, EXPERT] > 0).all())


def test_an_expert_is_baked_off_where_a_bias_enters_the_choice(tmp_path):
    """gpt-oss: the bias of its logits. DeepSeek: that of its choice, with one group of experts."""
    for family, changes in (("gpt-oss", {}), ("DeepSeek-V3", {"n_group": 1})):
        model = mixtures.lm(family, **changes)
        with intervene(model, experts(model), site="moe.router"):
            expected = logits(model)
        baked = bake(model, experts(model), site="moe.router")
        torch.testing.assert_close(logits(baked), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(logits(model), expected)
        off = Intervention(experts(model), site="moe.router")
        zero = Intervention(some(model), site="moe.act")
        both = bake(model, [off, zero])
        with intervene(model, [off, zero]):
            torch.testing.assert_close(logits(both), logits(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["Mixtral", "DeepSeek-V3", "Llama 4 (text)"])
def test_an_expert_is_not_baked_off_where_nothing_holds_it(family):
    """No bias; a bias of a choice by groups, where an expert that is off counts for its own."""
    model = mixtures.lm(family)
    with pytest.raises(InputError, match="has no bias that alone decides the choice"):
        bake(model, experts(model), site="moe.router")


def test_other_changes_of_a_router_are_not_baked():
    model = mixtures.lm("gpt-oss")
    for item in (
        Intervention(experts(model), 1.0, "add", site="moe.router"),
        Intervention(experts(model), mode="force", site="moe.router"),
        Intervention(experts(model), site="moe.router", start=2),
    ):
        with pytest.raises(InputError, match="cannot be written into weights"):
            bake(model, item)
