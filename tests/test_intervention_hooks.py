"""Interventions on running models, held against forward passes written out by hand."""

import threading

import pytest
import torch

import tiny
from handwritten import FORWARDS
from langneurons.errors import InputError, RunError
from langneurons.identification import Units
from langneurons.intervention import Intervention, Value, intervene
from langneurons.models import hook_site, wrap

IDS = torch.arange(3, 23).reshape(2, 10)
VALUES = {
    "set": lambda old, new: new.expand_as(old),
    "add": lambda old, new: old + new,
    "multiply": lambda old, new: old * new,
}


def run(lm, ids=IDS, **options):
    with torch.no_grad():
        return lm.model(input_ids=ids, **options).logits


def some_units(lm, site="mlp.act", seed=0, share=0.2):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(lm.layers, lm.sites[site].width, generator=generator) < share
    mask[:, 0] = True
    return Units.from_mask(mask)


def some_values(lm, site="mlp.act"):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(lm.layers, lm.sites[site].width, generator=generator) + 0.25


def attached(lm):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules()
    )


@pytest.mark.parametrize("mode", VALUES)
@pytest.mark.parametrize("site", tiny.SITES)
@pytest.mark.parametrize("family", FORWARDS)
def test_what_is_written_is_what_the_hand_writes(family, site, mode):
    lm = wrap(tiny.model(family).double(), tiny.tokenizer())
    units, values = some_units(lm, site), some_values(lm, site)

    def edit(name, layer, tensor):
        if name != site:
            return tensor
        index = units.by_layer(lm.layers)[layer]
        changed = tensor.clone()
        new = values[layer, index].double()
        changed[..., index] = VALUES[mode](tensor[..., index], new)
        return changed

    with intervene(lm, units, Value.of(values), mode=mode, site=site):
        hooked = run(lm)
    with torch.no_grad():
        expected = FORWARDS[family](lm.model, IDS, edit)
    assert (hooked - expected).abs().max() < 2e-5
    # Without rotary positions one vector added to all keys shifts all scores alike: no effect.
    if (family, site, mode) != ("gpt2", "attn.k", "add"):
        assert (hooked - run(lm)).abs().max() > 1e-3


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_model_is_bit_identical_afterwards(family):
    lm = tiny.lm(family)
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    plain, hooks = run(lm), attached(lm)
    for site in tiny.SITES:
        with intervene(lm, some_units(lm, site), 0.3, site=site):
            assert not torch.equal(run(lm), plain)
        with (
            pytest.raises(ZeroDivisionError),
            intervene(lm, some_units(lm, site), 0.3, site=site, scope="last"),
            hook_site(lm, site, lambda layer, value: 1 / 0, [1]),
        ):
            run(lm)
        assert attached(lm) == hooks
    assert torch.equal(run(lm), plain)
    assert all(torch.equal(before[name], t) for name, t in lm.model.state_dict().items())


def touched_at(lm, units, value, ids, positions):
    """Logits with the units set at these positions only: one pass without a cache."""

    def change(layer, activation):
        activation = activation.clone()
        index = units.by_layer(lm.layers)[layer]
        block = activation[:, positions]
        block[..., index] = value
        activation[:, positions] = block
        return activation

    with hook_site(lm, "mlp.act", change):
        return run(lm, ids, use_cache=False)


@pytest.mark.parametrize("family", ["llama", "opt", "bloom", "gpt2", "gemma3"])
@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        ({"scope": "all"}, 0, 99),
        ({"scope": "prompt"}, 0, 10),
        ({"scope": "generated"}, 10, 99),
        ({"scope": "last"}, 9, 99),
        ({"scope": "rest"}, 0, 9),
        ({"start": 4}, 4, 99),
        ({"start": 12}, 12, 99),
        ({"scope": "prompt", "start": 7}, 7, 10),
    ],
)
def test_scopes_in_generation_with_a_cache(family, options, first, last):
    lm = tiny.lm(family)
    units = some_units(lm)
    with intervene(lm, units, 0.7, **options):
        made = lm.model.generate(
            input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=6, min_new_tokens=6,
            do_sample=False, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
    positions = list(range(first, min(last, made.sequences.shape[1])))
    expected = touched_at(lm, units, 0.7, made.sequences, positions)[:, 9:-1]
    torch.testing.assert_close(torch.stack(made.logits, 1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "options", [{"start": 3}, {"scope": "last"}, {"scope": "rest"}, {"probability": 0.5, "seed": 3}]
)
def test_padding_does_not_move_positions(side, options):
    lm = tiny.lm("llama")
    units = some_units(lm)
    rows = [torch.arange(3, 8), torch.arange(30, 40), torch.arange(50, 57)]
    padded, mask = torch.zeros(3, 10, dtype=torch.long), torch.zeros(3, 10, dtype=torch.long)
    places = []
    for number, row in enumerate(rows):
        place = slice(10 - len(row), 10) if side == "left" else slice(0, len(row))
        padded[number, place], mask[number, place] = row, 1
        places.append(place)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with intervene(lm, units, 0.7, **options):
        together = run(lm, padded, attention_mask=mask, position_ids=positions)
        alone = [run(lm, row.unsqueeze(0)) for row in rows]
    plain = [run(lm, row.unsqueeze(0)) for row in rows]
    for number, place in enumerate(places):
        torch.testing.assert_close(together[number, place], alone[number][0], rtol=1e-4, atol=1e-4)
    assert any(not torch.equal(a, p) for a, p in zip(alone, plain, strict=True))


def test_last_touches_the_last_real_token_only():
    lm = tiny.lm("llama")
    units = some_units(lm)
    mask = torch.ones_like(IDS)
    mask[0, 6:] = 0
    with intervene(lm, units, 0.7, scope="last"):
        made = run(lm, attention_mask=mask)
    plain = run(lm, attention_mask=mask)
    changed = (made != plain).any(-1)
    assert changed[0, :6].tolist() == [False] * 5 + [True]
    assert changed[1].tolist() == [False] * 9 + [True]


@pytest.mark.parametrize("scope", ["text", "padding"])
def test_text_and_padding_part_a_padded_sequence(scope):
    lm = tiny.lm("llama")
    units = some_units(lm)
    mask = torch.ones_like(IDS)
    mask[0, 6:] = 0
    seen = {}
    # Behind the intervention: what the site holds then.
    with (
        intervene(lm, units, 0.7, scope=scope),
        hook_site(lm, "mlp.act", lambda layer, value: seen.update({layer: value.clone()})),
    ):
        run(lm, attention_mask=mask)
    for layer, chosen in enumerate(units.by_layer(lm.layers)):
        held = (seen[layer][..., chosen] == 0.7).all(-1)
        assert held[0].tolist() == [(place < 6) == (scope == "text") for place in range(10)]
        assert held[1].tolist() == [scope == "text"] * 10


def test_without_a_mask_nothing_is_padding():
    lm = tiny.lm("llama")
    units = some_units(lm)
    with intervene(lm, units, 0.7, scope="padding"):
        assert run(lm).equal(run(tiny.lm("llama")))
    with intervene(lm, units, 0.7, scope="text"):
        text = run(lm)
    with intervene(lm, units, 0.7):
        assert text.equal(run(lm))


def test_probability_is_a_share_of_tokens_and_repeatable():
    lm = tiny.lm("llama")
    units = Units([1], [5])
    ids = torch.randint(3, 300, (40, 50), generator=torch.Generator().manual_seed(0))
    shares = {}

    def touched(seed, probability, rows=slice(None)):
        found = []

        def look(layer, value):
            found.append(value[..., 5] == 9.0)

        with (
            intervene(lm, units, 9.0, probability=probability, seed=seed),
            hook_site(lm, "mlp.act", look, [1]),
        ):
            run(lm, ids[rows])
        return found[0]

    first = touched(0, 0.3)
    shares = first.double().mean()
    assert abs(shares - 0.3) < 4 * (0.3 * 0.7 / first.numel()) ** 0.5
    assert torch.equal(first, touched(0, 0.3))
    assert torch.equal(first[7:9], touched(0, 0.3, slice(7, 9)))
    assert not torch.equal(first, touched(1, 0.3))
    assert touched(0, 1.0).all()
    assert not touched(0, 0.0).any()


def test_several_act_in_the_order_given():
    lm = tiny.lm("llama")
    units = Units([0, 1], [3, 3])

    def value_of(*interventions):
        found = []
        with (
            intervene(lm, list(interventions)),
            hook_site(lm, "mlp.act", lambda layer, value: found.append(value[0, 0, 3].item()), [1]),
        ):
            run(lm)
        return found[0]

    on, double = Intervention(units, 1.5), Intervention(units, 2.0, mode="multiply")
    assert value_of(on, double) == 3.0
    assert value_of(double, on) == 1.5
    assert value_of(on, double, Intervention(units, 0.25, mode="add")) == 3.25
    assert value_of(on, Intervention(units, 0.0, layers=(0,))) == 1.5
    found = []
    with (
        intervene(lm, on),
        intervene(lm, double),
        hook_site(lm, "mlp.act", lambda layer, value: found.append(value[0, 0, 3].item()), [1]),
    ):
        run(lm)
    assert found == [3.0]


def test_off_and_on_at_once():
    lm = tiny.lm("llama")
    off, on = Units([0, 1], [1, 2]), Units([0, 1], [4, 5])
    values = some_values(lm)
    found = {}
    with (
        intervene(lm, [Intervention(off), Intervention(on, Value.of(values))]),
        hook_site(lm, "mlp.act", lambda layer, value: found.__setitem__(layer, value.clone())),
    ):
        run(lm)
    assert (found[0][..., 1] == 0).all()
    assert (found[1][..., 2] == 0).all()
    assert (found[0][..., 4] == values[0, 4]).all()
    assert (found[1][..., 5] == values[1, 5]).all()


def activations(lm, what=None, **options):
    found = {}
    with (
        intervene(lm, what, **options),
        hook_site(lm, "mlp.act", lambda layer, value: found.__setitem__(layer, value.clone())),
    ):
        run(lm)
    return found


def test_own_value_clipped_and_another_units_value():
    lm = tiny.lm("llama")
    plain = activations(lm)
    units = Units([0, 0], [3, 9])
    clipped = activations(lm, units, value=Value.clip(-0.05, 0.1))
    assert torch.equal(clipped[0][..., [3, 9]], plain[0][..., [3, 9]].clamp(-0.05, 0.1))
    assert torch.equal(clipped[0][..., 4], plain[0][..., 4])
    copied = activations(lm, Units([0, 1], [3, 7]), value=Value.unit(0, 20))
    assert torch.equal(copied[0][..., 3], plain[0][..., 20])
    assert torch.equal(copied[1][..., 7], copied[0][..., 20])
    with pytest.raises(InputError, match="behind layer 0"):
        activations(lm, Units([0], [3]), value=Value.unit(1, 2))
    with pytest.raises(InputError, match=r"no unit \(0, 480\)"):
        activations(lm, Units([0], [3]), value=Value.unit(0, 480))


def test_another_units_value_is_taken_before_that_unit_is_written():
    lm = tiny.lm("llama")
    plain = activations(lm)
    taking = Intervention(Units([1], [7]), Value.unit(0, 20))
    for order in ([taking, Intervention(Units([0], [20]), 0.0)], [taking]):
        found = activations(lm, order)
        assert torch.equal(found[1][..., 7], plain[0][..., 20])
    assert (activations(lm, [Intervention(Units([0], [20]), 0.0)])[0][..., 20] == 0).all()


@pytest.mark.parametrize("scope", ["all", "text"])
def test_nothing_is_written_in_place_where_autograd_needs_the_old_values(scope):
    """ReLU's gradient is read off its output: written over in place, backward would fail."""
    lm = tiny.lm("opt")
    lm.model.requires_grad_(True)
    units = some_units(lm)
    mask = torch.ones_like(IDS)
    for mode in VALUES:
        lm.model.zero_grad()
        with intervene(lm, units, 0.4, mode=mode, scope=scope):
            lm.model(input_ids=IDS, attention_mask=mask, use_cache=False).logits.sum().backward()
        rows = lm.sites.gates[0].module.weight.grad[units.by_layer(2)[0]]
        assert (rows.abs().max() == 0) == (mode == "set")


def test_a_head_of_norm_0_stays_0_and_keeps_gradients_finite():
    lm = tiny.lm("llama")
    lm.model.requires_grad_(True)
    values = Units([0] * 16, range(16))
    with (
        intervene(lm, values, 0.0, site="attn.v"),
        intervene(lm, Units([0], [2]), 3.0, site="attn.head"),
    ):
        logits = lm.model(input_ids=IDS, use_cache=False).logits
        logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in lm.model.parameters())
    with intervene(lm, values, 0.0, site="attn.v"):
        torch.testing.assert_close(run(lm), logits)


def test_the_identity_of_an_intervention_tells_its_layers():
    units = Units([0, 1], [3, 7])
    whole, first = Intervention(units), Intervention(units, layers=(0,))
    assert whole.identity() != first.identity()
    assert first.identity() == Intervention(Units([0], [3])).identity()
    assert whole.identity() == Intervention(units, layers=(0, 1)).identity()


def test_training_under_an_intervention_with_and_without_checkpointing():
    gradients = []
    for checkpointing in (False, True):
        net = tiny.model("llama").train()
        lm = wrap(net, tiny.tokenizer())
        net.train().requires_grad_(True)
        if checkpointing:
            net.gradient_checkpointing_enable({"use_reentrant": False})
        units = some_units(lm)
        with intervene(lm, units, 0.4), intervene(lm, units, 1.5, mode="multiply", scope="prompt"):
            net(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
        gradients.append({n: p.grad for n, p in net.named_parameters()})
        rows = lm.layer_modules[0].mlp.gate_proj.weight.grad[units.by_layer(2)[0]]
        assert rows.abs().max() == 0
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_on_a_model_with_an_adapter():
    import copy

    from peft import LoraConfig, get_peft_model

    lm = tiny.lm("llama")
    config = LoraConfig(target_modules=["gate_proj", "down_proj"], init_lora_weights=False)
    adapted = get_peft_model(lm.model, config).eval()
    wrapped = lm.with_model(adapted)
    merged = wrap(copy.deepcopy(adapted).merge_and_unload(), lm.tokenizer)
    for site in ("mlp.act", "mlp.out"):
        units = some_units(wrapped, site)
        with intervene(wrapped, units, site=site):
            hooked = run(wrapped)
        with intervene(merged, units, site=site):
            torch.testing.assert_close(hooked, run(merged), rtol=1e-4, atol=1e-4)


def test_a_second_thread_is_refused_and_leaves_nothing():
    lm = tiny.lm("llama")
    units, plain, hooks = some_units(lm), run(lm), attached(lm)
    errors = []

    def other():
        try:
            with intervene(lm, units, 5.0):
                run(lm)
        except RunError as error:
            errors.append(str(error))

    def in_thread():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    with intervene(lm, units):
        mine = run(lm)
        in_thread()
        assert torch.equal(run(lm), mine)
    assert len(errors) == 1
    assert "another thread" in errors[0]
    in_thread()
    assert len(errors) == 1
    assert attached(lm) == hooks
    assert torch.equal(run(lm), plain)


def test_a_compiled_model_is_refused():
    lm = tiny.lm("llama")
    compiled = lm.with_model(torch.compile(lm.model))
    with pytest.raises(InputError, match=r"torch\.compile"), intervene(compiled, some_units(lm)):
        pass
    lm.model.compile()
    with pytest.raises(InputError, match=r"torch\.compile"), intervene(lm, some_units(lm)):
        pass


def test_bfloat16_takes_the_nearest_value():
    lm = wrap(tiny.model("llama").bfloat16(), tiny.tokenizer())
    found = activations(lm, Units([0], [3]), value=0.3)
    assert (found[0][..., 3] == torch.tensor(0.3).bfloat16()).all()


def test_no_units_and_no_intervention_change_nothing():
    lm = tiny.lm("llama")
    plain = run(lm)
    for what in (None, [], Units.empty(), [Intervention(Units.empty(), 3.0)]):
        with intervene(lm, what):
            assert torch.equal(run(lm), plain)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda u: Intervention(u, mode="sett"), "unknown mode 'sett'. Did you mean 'set'"),
        (lambda u: Intervention(u, scope="promt"), "Did you mean 'prompt'"),
        (lambda u: Intervention(u, protocol="papers"), "Did you mean 'paper'"),
        (lambda u: Intervention(u, float("nan")), "must be a number, not nan"),
        (lambda u: Intervention(u, "mean"), "must be a number, not 'mean'"),
        (lambda u: Intervention(u, Value.clip(0, 1), mode="add"), "can only be set"),
        (lambda u: Intervention(u, start=-1), "start counts positions from 0"),
        (lambda u: Intervention(u, probability=1.5), "within 0 to 1"),
        (lambda u: Intervention([1, 2]), "needs Units"),
        (lambda u: Value.clip(2, 1), "low lies above high"),
        (lambda u: Value.of(torch.zeros(3)), r"shape \(layers, units\)"),
    ],
)
def test_wrong_options_are_one_line(make, message):
    with pytest.raises(InputError, match=message) as error:
        make(Units([0], [0]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        (Units([2], [0]), {}, "another model"),
        (Units([0], [48]), {}, "another model"),
        (Units([0], [0]), {"value": Value.of(torch.zeros(3, 48))}, "another model or site"),
        (Units([0], [0]), {"site": "mlp.atc"}, "Did you mean 'mlp.act'"),
        (Intervention(Units([0], [0])), {"value": 1.0}, "set value on it"),
        ("hi", {}, "not str"),
    ],
)
def test_what_does_not_fit_the_model_is_one_line(what, options, message):
    lm = tiny.lm("llama")
    hooks = attached(lm)
    with pytest.raises(InputError, match=message), intervene(lm, what, **options):
        pass
    assert attached(lm) == hooks
