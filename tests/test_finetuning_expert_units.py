"""Adapters of units inside experts and of router rows: what learns, and PEFT alone loads it."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

import mixtures
import tiny
from langneurons.errors import InputError
from langneurons.finetuning import Recipe, experts, run, targets
from langneurons.finetuning.adapter import load_adapter
from langneurons.finetuning.run import continue_pretraining
from langneurons.finetuning.targets import trainable_parameters
from langneurons.identification import Units

TEXTS = ["the cat sat on the mat and the dog ran to the house", "one more line of words"] * 4
IDS = torch.arange(2 * 7).reshape(2, 7) + 5
OPTIONS = {
    "steps": 3, "batch_size": 2, "learning_rate": 0.05, "dtype": "fp32", "rank": 2,
    "attention": False, "projections": "gate,up,down",
}  # fmt: skip


def trained(model, units, folder, site, **options):
    return continue_pretraining(
        model, TEXTS, "en", units, output=folder, block=16, site=site, **{**OPTIONS, **options}
    )


def merged_changes(family, folder):
    """Name to change of every weight, after plain PEFT has loaded and merged the adapter."""
    base = mixtures.lm(family).model
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    merged = PeftModel.from_pretrained(mixtures.lm(family).model, folder).merge_and_unload()
    after = merged.state_dict()
    assert set(after) == set(before)
    return {n: after[n] - before[n] for n in before if not torch.equal(after[n], before[n])}


def allowed(family, model, units, name, shape):
    """Mask of the elements of one stacked weight that may learn, by the families' layouts."""
    layer = int(name.split("layers.")[1].split(".")[0])
    inner = model.sites["moe.act"].inner
    mask = torch.zeros(shape, dtype=torch.bool)
    stored_by_columns = family in ("gpt-oss", "Llama 4 (text)")
    for number, index in units.pairs():
        if number != layer:
            continue
        expert, unit = index // inner, index % inner
        own = mask[expert] if stored_by_columns else mask[expert].T  # (inputs, outputs)
        if name.endswith("down_proj"):
            own[unit, :] = True
        else:
            pair = (2 * unit, 2 * unit + 1) if family == "gpt-oss" else (unit, inner + unit)
            own[:, list(pair)] = True
    return mask


@pytest.mark.parametrize("family", [*mixtures.FAMILIES, "Nemotron-H"])
def test_only_chosen_units_learn_and_peft_loads_it(family, tmp_path):
    model = mixtures.lm(family)
    place = model.sites["moe.act"]
    units = Units.from_pairs(
        [(n, i) for n in place.layers for i in range(1, place.widths[n] // 2, 5)]
    )
    projections = "gate,down" if family == "Nemotron-H" else "gate,up,down"
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    adapter = trained(model, units, tmp_path, "moe.act", projections=projections)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    changes = merged_changes(family, tmp_path)
    stacks = len(place.layers) * 2
    assert len(changes) == stacks
    assert all(name.endswith(("up_proj", "down_proj")) for name in changes)
    if family != "Nemotron-H":
        for name, change in changes.items():
            mask = allowed(family, model, units, name, change.shape)
            assert not change[~mask].any(), name
            assert change[mask].any(), name
    used = load_adapter(model, tmp_path)
    with torch.no_grad():
        found = used.model(input_ids=IDS).logits
        alone = PeftModel.from_pretrained(mixtures.lm(family).model, tmp_path)
        torch.testing.assert_close(alone(input_ids=IDS).logits, found)
        assert not torch.allclose(found, model.model(input_ids=IDS).logits)
    recipe = Recipe(rank=2, attention=False, projections=tuple(projections.split(",")))
    assert adapter.trainable == trainable_parameters(model, units, recipe, site="moe.act")


@pytest.mark.parametrize("family", mixtures.FAMILIES)
def test_only_chosen_rows_of_routers_learn(family, tmp_path):
    model = mixtures.lm(family)
    units = Units.from_pairs([(n, 3) for n in model.sites["moe.router"].layers])
    adapter = trained(model, units, tmp_path, "moe.router", steps=6)
    changes = merged_changes(family, tmp_path)
    assert 1 <= len(changes) <= len(units)  # one that is never chosen has no gradient
    for name, change in changes.items():
        assert change.shape == (mixtures.EXPERTS, 32), name
        assert change[3].any()
        assert not change[[0, 1, 2, 4, 5]].any()
    recipe = Recipe(rank=2, attention=False)
    assert adapter.trainable == trainable_parameters(model, units, recipe, site="moe.router")
    assert adapter.trainable == len(units) * 2 * (1 + 32)


def test_counts_by_formula():
    """Two units of one expert, one of another: rank times (units + inputs of each expert)."""
    model = mixtures.lm("Mixtral")
    units = Units.from_pairs([(0, 0), (0, 1), (0, 50)])
    recipe = Recipe(rank=4, attention=False, projections=("gate",))
    assert trainable_parameters(model, units, recipe, site="moe.act") == 4 * (3 + 2 * 32)
    recipe = Recipe(rank=4, attention=False, projections=("gate", "up", "down"))
    expected = 4 * (6 + 2 * 32) + 4 * (3 + 2 * 32)
    assert trainable_parameters(model, units, recipe, site="moe.act") == expected
    every = trainable_parameters(model, "all", recipe, site="moe.act")
    assert every == 3 * 4 * (6 * (96 + 32) + 6 * (48 + 32))


def test_attention_alone_beside_experts(tmp_path):
    """'none' on a mixture without an MLP: attention learns, and units of experts can beside it."""
    model = mixtures.lm("Mixtral")
    trained(model, "none", tmp_path / "a", None, attention=True)
    assert all("self_attn" in name for name in merged_changes("Mixtral", tmp_path / "a"))
    units = Units.from_pairs([(1, 7)])
    trained(model, units, tmp_path / "b", "moe.act", attention=True)
    names = merged_changes("Mixtral", tmp_path / "b")
    assert {name.split(".")[-2] for name in names} >= {"experts", "q_proj"}


def test_continued_training_is_the_same(tmp_path, monkeypatch):
    model = mixtures.lm("Qwen2-MoE")
    units = Units.from_pairs([(0, 7), (2, 40)])
    whole = trained(model, units, tmp_path / "whole", "moe.act", checkpoint_every=1)
    from langneurons.finetuning import training

    step, calls = training._Run._step, []

    def stopping(self, *args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        step(self, *args)

    monkeypatch.setattr(training._Run, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(model, units, tmp_path / "stopped", "moe.act", checkpoint_every=1)
    monkeypatch.setattr(training._Run, "_step", step)
    again = trained(model, units, tmp_path / "stopped", "moe.act", checkpoint_every=1)
    assert again.losses == whole.losses
    one, other = (merged_changes("Qwen2-MoE", tmp_path / name) for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_peft_has_no_form_for_is_refused_before_training(tmp_path, monkeypatch):
    model = mixtures.lm("Qwen2-MoE")
    units = Units.from_pairs([(0, 7)])
    for options in ({"method": "rows"}, {"dropout": 0.1}):
        with pytest.raises(InputError, match="learn by method='lora' without dropout only"):
            trained(model, units, tmp_path, "moe.act", **options)
    with pytest.raises(InputError, match=r"no unit \(1, 3\): layer 1 of Qwen2MoeModel has 0 units"):
        trained(model, Units.from_pairs([(1, 3)]), tmp_path, "moe.act")
    other = mixtures.lm("Nemotron-H")
    some = Units.from_pairs([(other.sites["moe.act"].layers[0], 3)])
    with pytest.raises(InputError, match="are not gated, so there is no up projection"):
        trained(other, some, tmp_path, "moe.act")
    stack = experts.Stack(True, torch.ones(1, 2, dtype=torch.bool), 3)
    adapted = get_peft_model(model.model, LoraConfig(target_modules=["q_proj"], r=2))
    with pytest.raises(InputError, match=r"PEFT made no adapter for 'elsewhere\.weight'"):
        experts.confine(adapted, {"elsewhere.weight": stack})
    assert not any(tmp_path.iterdir())


def test_sharded_training_is_refused(tmp_path, monkeypatch):
    model = mixtures.lm("Mixtral")
    made = run.Processes.__init__

    def sharded(self, device):
        made(self, device)
        self.sharded = True

    monkeypatch.setattr(run.Processes, "__init__", sharded)
    monkeypatch.setattr(run, "sharding_settings", lambda recipe: object())
    with pytest.raises(InputError, match="cannot be trained with weights spread over processes"):
        trained(model, Units.from_pairs([(0, 7)]), tmp_path, "moe.act")


def test_all_units_of_a_mixture_without_others_are_inside_its_experts(tmp_path):
    model = mixtures.lm("Mixtral")
    trained(model, "all", tmp_path, None, attention=True)
    changes = merged_changes("Mixtral", tmp_path)
    inside = [name for name in changes if ".experts." in name]
    assert len(inside) == 2 * model.layers
    assert any(bool(changes[name].flatten(1).any(1).all()) for name in inside)
    assert any("self_attn" in name for name in changes)


def test_all_units_of_a_mixture_with_shared_experts_say_what_learns_nothing(tmp_path, caplog):
    model = mixtures.lm("DeepSeek-V3")  # layers of different widths
    trained(model, "all", tmp_path, None)
    assert [record.message for record in caplog.records if "learn nothing" in record.message] == [
        "all units of DeepSeek-V3 are those of its dense layers and shared experts: its routed "
        "experts learn nothing. To train the units inside them instead give site='moe.act'."
    ]
    changes = merged_changes("DeepSeek-V3", tmp_path)
    assert {name.rpartition("layers.")[2] for name in changes} == {
        f"{layer}.{name}.weight"
        for layer, mlp in ((0, "mlp"), (1, "mlp.shared_experts"), (2, "mlp.shared_experts"))
        for name in (f"{mlp}.gate_proj", f"{mlp}.up_proj", f"{mlp}.down_proj")
    }


@pytest.mark.parametrize("family", ["Qwen2-MoE", "DeepSeek-V3", "Granite-4 hybrid"])
@pytest.mark.parametrize("projections", ["gate", "gate,up,down"])
def test_units_of_shared_experts_learn_and_no_routed_expert_does(family, projections, tmp_path):
    """PEFT takes the names of their modules for those of routed experts, in many mixtures."""
    model = mixtures.lm(family)
    place = model.sites["mlp.act"]
    units = Units.from_pairs([(n, i) for n in place.layers for i in (1, 4, 7)])
    adapter = trained(model, units, tmp_path, "mlp.act", projections=projections)
    changes = merged_changes(family, tmp_path)
    assert changes
    for name, change in changes.items():
        assert change.ndim == 2, name
        layer = int(name.split("layers.")[1].split(".")[0])
        own = change.T if name.endswith(("down_proj.weight", "output_linear.weight")) else change
        chosen = torch.zeros(len(own), dtype=torch.bool)
        width = place.widths[layer]
        chosen[[k + half for k in (1, 4, 7) for half in range(0, len(own), width)]] = True
        assert own[chosen].any(), name
        assert not own[~chosen].any(), name
    recipe = Recipe(**{**OPTIONS, "projections": projections})
    assert adapter.trainable == trainable_parameters(model, units, recipe, site="mlp.act")
    used = load_adapter(model, tmp_path)
    merged = PeftModel.from_pretrained(mixtures.lm(family).model, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            used.model(input_ids=IDS).logits, merged(input_ids=IDS).logits, rtol=1e-4, atol=1e-5
        )


def test_rows_of_shared_experts_are_refused(tmp_path):
    model = mixtures.lm("DeepSeek-V3")
    with pytest.raises(InputError, match=r"of DeepSeek-V3 at 'mlp\.act' learn by method='lora'"):
        trained(model, Units([1], [2]), tmp_path, "mlp.act", method="rows")


def test_what_peft_would_train_instead_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "is_mixture", lambda _lm: False)
    model = mixtures.lm("DeepSeek-V3")
    with pytest.raises(
        InputError, match=r"PEFT takes .*down_proj' of DeepSeek-V3 for a part of its"
    ):
        trained(model, "all", tmp_path, None)


def test_all_units_of_a_dense_model_warn_of_nothing(caplog):
    assert trainable_parameters(tiny.lm(), "all", Recipe()) > 0
    assert not caplog.records
