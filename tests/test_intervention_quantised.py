"""Interventions on models in 4 and 8 bits: what is written, and that nothing stays behind."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import tiny
from langneurons.errors import InputError
from langneurons.identification import Units
from langneurons.intervention import Value, bake, intervene
from langneurons.models import hook_site, wrap

pytest.importorskip("bitsandbytes")

IDS = torch.arange(3, 23).reshape(2, 10)
BITS = {
    "4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "8": BitsAndBytesConfig(load_in_8bit=True),
}


@pytest.fixture(scope="module", params=BITS)
def quantised(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny.model("llama", hidden_size=64, intermediate_size=64).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=BITS[request.param], dtype=torch.float32
    )
    lm = wrap(model, tiny.tokenizer(), f"{request.param} bits")
    run(lm)  # on some processors bitsandbytes rounds its scales when it first runs
    return lm


def run(lm, ids=IDS, **options):
    with torch.no_grad():
        return lm.model(input_ids=ids, **options).logits


def hooks(lm):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules()
    )


def mlp_inputs_and_outputs(lm):
    """The inputs of every MLP in one pass, and its outputs."""
    found, handles = {}, []
    for number, layer in enumerate(lm.layer_modules):
        handles.append(
            layer.mlp.register_forward_hook(
                lambda m, a, o, n=number: found.__setitem__(n, (a[0].clone(), o.clone()))
            )
        )
    run(lm)
    for handle in handles:
        handle.remove()
    return found


def test_what_is_written_reaches_the_quantised_projection(quantised):
    lm, units = quantised, Units([0, 0, 1], [3, 60, 7])
    values = torch.rand(2, 64) + 0.25
    with intervene(lm, units, Value.of(values)):
        found = mlp_inputs_and_outputs(lm)
    for number, layer in enumerate(lm.layer_modules):
        given, output = found[number]
        index = units.by_layer(2)[number]
        with torch.no_grad():
            act = layer.mlp.act_fn(layer.mlp.gate_proj(given)).clone()
            act[..., index] = values[number, index].to(act.dtype)
            expected = layer.mlp.down_proj(act * layer.mlp.up_proj(given))
        torch.testing.assert_close(output, expected, rtol=0, atol=0)


def test_every_site_and_the_model_afterwards(quantised):
    lm = quantised
    plain, before = run(lm), hooks(lm)
    state = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    for site in tiny.SITES:
        with intervene(lm, Units([0, 1], [3, 1]), 0.3, site=site):
            assert (run(lm) - plain).abs().max() > 1e-3, site
        assert torch.equal(run(lm), plain)
    assert hooks(lm) == before
    assert all(torch.equal(state[name], t) for name, t in lm.model.state_dict().items())


def test_generation_with_a_cache(quantised):
    written, before = [], hooks(quantised)

    def look(_layer, activation):
        written.append(activation[..., 7].clone())

    with intervene(quantised, Units([1], [7]), 2.0), hook_site(quantised, "mlp.act", look, [1]):
        quantised.model.generate(
            IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=4, min_new_tokens=4,
            do_sample=False,
        )  # fmt: skip
    assert [tuple(found.shape) for found in written] == [(2, 10), (2, 1), (2, 1), (2, 1)]
    assert all((found == 2.0).all() for found in written)
    assert hooks(quantised) == before


def test_baking_is_refused(quantised):
    with pytest.raises(InputError, match="quantised and cannot be read or scaled"):
        bake(quantised, Units([0], [3]))
