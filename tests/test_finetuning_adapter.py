"""From a run to a folder that PEFT alone can read, and back."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import tiny
from finetuning_world import Answers, Classes
from langneurons.data.tasks import encode_example
from langneurons.errors import ArtifactError, InputError
from langneurons.evaluation import evaluate
from langneurons.evaluation.classification import classify
from langneurons.finetuning import (
    Adapter,
    finetune,
    get_recipe,
    load_adapter,
    trainable_parameters,
)
from langneurons.finetuning.structure import classification_model, shared_copy
from langneurons.identification import NeuronSet, Units
from langneurons.intervention import Intervention, intervene
from langneurons.models import hook_site

FAST = {
    "steps": 4,
    "batch_size": 8,
    "rank": 3,
    "alpha": 6,
    "learning_rate": 1e-2,
    "dtype": "fp32",
}
UNITS = Units([0, 0, 0, 1, 1, 1], [1, 2, 40, 0, 9, 47])
IDS = torch.tensor([[1, 5, 9, 33, 40, 7], [1, 6, 8, 12, 60, 61]])


def weights(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def same(lm, before):
    after = lm.model.state_dict()
    assert list(after) == list(before)
    return all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("kind", [Classes, Answers])
def test_plain_peft_gives_the_same_logits(family, kind, tmp_path):
    """Saved, read by Transformers and PEFT alone, and merged: the same function."""
    lm = tiny.lm(family)
    lm.model.save_pretrained(tmp_path / "base")
    task = kind()
    before = weights(lm)
    options = {**FAST, "projections": ("gate", "down")}
    adapter = finetune(lm, task, "en", UNITS, output=tmp_path / "adapter", **options)
    assert same(lm, before)
    assert not any("lora" in name for name, _ in lm.model.named_modules())
    ours = load_adapter(lm, adapter).model(input_ids=IDS).logits
    if task.kind == "classification":
        base = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "base", num_labels=3, pad_token_id=0
        )
    else:
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=IDS).logits, ours)
        merged = plain.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=IDS).logits, ours, rtol=1e-4, atol=1e-5)
    trained = lm.model(input_ids=IDS).logits
    if task.kind == "qa":
        assert not torch.allclose(trained, ours, atol=1e-4)


def test_rows_outside_the_mask_are_zero(tmp_path):
    lm = tiny.lm()
    adapter = finetune(lm, Classes(), "en", UNITS, output=tmp_path, **FAST)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    rows = {name: t for name, t in saved.items() if "gate_proj.lora_B" in name}
    assert len(rows) == 2
    for name, tensor in rows.items():
        layer = int(name.split("layers.")[1].split(".")[0])
        chosen = UNITS.indices[UNITS.layers == layer].tolist()
        assert tensor.shape == (tiny.UNITS, 3)
        assert tensor.abs().sum(1).nonzero().flatten().tolist() == chosen
    assert any("score" in name for name in saved)
    assert adapter.info["units"]["indices"] == UNITS.indices.tolist()


@pytest.mark.parametrize(
    ("neurons", "options"),
    [
        ("none", {}),
        ("all", {}),
        (UNITS, {}),
        (UNITS, {"attention": False}),
        (UNITS, {"projections": ("gate", "up", "down")}),
        (UNITS, {"method": "rows", "attention": False}),
        ("none", {"attention": False}),
    ],
)
def test_number_of_trained_weights(neurons, options, tmp_path):
    """The formula, the count in the model and the file agree."""
    lm = tiny.lm()
    hidden, units, rank = tiny.HIDDEN, tiny.UNITS, 3
    adapter = finetune(lm, Classes(), "en", neurons, output=tmp_path, **{**FAST, **options})
    recipe = get_recipe(None, **{**FAST, **options})
    assert adapter.trainable == trainable_parameters(lm, neurons, recipe, labels=3)
    expected = 3 * hidden
    if options.get("attention", True):
        # q and o are square, k and v half as wide (two key heads of four).
        expected += 2 * rank * (4 * hidden + 2 * (hidden + hidden // 2))
    if neurons == "all":
        expected += 2 * rank * (hidden + units)
    elif neurons is UNITS and options.get("method") == "rows":
        expected += 6 * hidden
    elif neurons is UNITS:
        sides = len(options.get("projections", ("gate",)))
        expected += sides * (2 * rank * hidden + 6 * rank)
    assert adapter.trainable == expected


def test_directly_trained_rows_load_as_plain_lora(tmp_path):
    lm = tiny.lm()
    lm.model.save_pretrained(tmp_path / "base")
    options = {**FAST, "method": "rows", "projections": ("gate", "down"), "attention": False}
    finetune(lm, Answers(), "en", UNITS, output=tmp_path / "a", **options)
    ours = load_adapter(lm, tmp_path / "a").model(input_ids=IDS).logits
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = PeftModel.from_pretrained(base, tmp_path / "a").eval()
    torch.testing.assert_close(plain(input_ids=IDS).logits, ours)
    merged = plain.merge_and_unload()
    for layer in range(2):
        old = lm.model.model.layers[layer].mlp.gate_proj.weight
        new = merged.model.layers[layer].mlp.gate_proj.weight
        changed = (old != new).any(1).nonzero().flatten()
        assert changed.tolist() == UNITS.indices[UNITS.layers == layer].tolist()


def test_full_fine_tuning_leaves_the_model(tmp_path):
    lm = tiny.lm()
    before = weights(lm)
    adapter = finetune(lm, Answers(), "en", output=tmp_path, **{**FAST, "method": "full"})
    assert same(lm, before)
    assert adapter.trainable == sum(p.numel() for p in lm.model.parameters())
    tuned = load_adapter(lm, tmp_path)
    assert not torch.allclose(tuned.model(input_ids=IDS).logits, lm.model(input_ids=IDS).logits)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom", "cohere"])
def test_left_and_right_padding_score_alike(family, tmp_path):
    lm = tiny.lm(family)
    finetune(lm, Classes(), "en", UNITS, output=tmp_path, **FAST)
    model = load_adapter(lm, tmp_path).model
    ids = [5, 9, 30, 41, 77]
    alone = model(input_ids=torch.tensor([ids])).logits
    right = model(
        input_ids=torch.tensor([[*ids, 0, 0, 0]]),
        attention_mask=torch.tensor([[1] * 5 + [0] * 3]),
    ).logits
    positions = {}
    if family == "gpt2":  # absolute positions, which only the caller can know
        positions["position_ids"] = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4]])
    left = model(
        input_ids=torch.tensor([[0, 0, 0, *ids]]),
        attention_mask=torch.tensor([[0] * 3 + [1] * 5]),
        **positions,
    ).logits
    torch.testing.assert_close(right, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(left, alone, rtol=1e-4, atol=1e-5)


def test_paper_head_reads_the_last_position(tmp_path):
    lm = tiny.lm()
    options = {**FAST, "head": "last-position", "max_length": 30}
    finetune(lm, Classes(), "en", UNITS, output=tmp_path, **options)
    adapted = load_adapter(lm, tmp_path)
    ids = torch.tensor([[5, 9, 30, 41, 77]])
    padded = torch.cat([ids, torch.zeros(1, 25, dtype=torch.long)], 1)
    mask = (torch.arange(30) < 5).long()[None]
    plain = adapted.model.get_base_model()
    hidden = plain.model(input_ids=padded, attention_mask=mask).last_hidden_state
    expected = plain.score(hidden[:, -1])
    torch.testing.assert_close(adapted.model(input_ids=ids).logits, expected)
    scores = classify(adapted, [[5, 9, 30, 41, 77], [7, 8]])
    torch.testing.assert_close(
        torch.tensor(scores[0]), expected[0].double().log_softmax(-1), rtol=1e-5, atol=1e-5
    )


def test_the_padding_that_the_papers_head_reads_is_a_scope_of_its_own(tmp_path):
    lm = tiny.lm()
    options = {**FAST, "head": "last-position", "max_length": 30}
    adapted = load_adapter(lm, finetune(lm, Classes(), "en", UNITS, output=tmp_path, **options))
    ids = torch.tensor([[5, 9, 30, 41, 77]])
    layer, chosen = int(UNITS.layers[0]), UNITS.indices[UNITS.layers == UNITS.layers[0]]

    def by_hand(places):
        def change(_layer, activation):
            activation = activation.clone()
            block = activation[:, places]
            block[..., chosen] = 0.7
            activation[:, places] = block
            return activation

        with hook_site(adapted, "mlp.act", change, [layer]):
            return adapted.model(input_ids=ids).logits

    plain = adapted.model(input_ids=ids).logits
    for scope, places in {"text": slice(0, 5), "padding": slice(5, 30)}.items():
        with intervene(adapted, UNITS, 0.7, scope=scope, layers=(layer,)):
            touched = adapted.model(input_ids=ids).logits
        torch.testing.assert_close(touched, by_hand(places))
        assert not torch.allclose(touched, plain)


def test_two_adapters_of_one_model_do_not_meet(tmp_path):
    lm = tiny.lm()
    untouched = lm.model(input_ids=IDS).logits
    for seed in (0, 1):
        finetune(lm, Answers(), "en", UNITS, output=tmp_path / str(seed), seed=seed, **FAST)
    first = load_adapter(lm, tmp_path / "0")
    alone = first.model(input_ids=IDS).logits
    second = load_adapter(lm, tmp_path / "1")
    torch.testing.assert_close(first.model(input_ids=IDS).logits, alone, rtol=0, atol=0)
    assert not torch.allclose(second.model(input_ids=IDS).logits, alone)
    torch.testing.assert_close(lm.model(input_ids=IDS).logits, untouched, rtol=0, atol=0)


@pytest.mark.parametrize("head", ["last-token", "last-position"])
def test_a_model_in_bfloat16_is_trained_and_scored(head, tmp_path):
    """The head stays in float32; what the backbone gives it is cast."""
    lm = tiny.lm()
    in_bf16 = lm.with_model(copy.deepcopy(lm.model).to(torch.bfloat16))
    options = {**FAST, "head": head, "max_length": 24}
    adapter = finetune(in_bf16, Classes(), "en", UNITS, output=tmp_path / "a", **options)
    adapted = load_adapter(in_bf16, adapter)
    with torch.no_grad():
        logits = adapted.model(input_ids=IDS).logits
    assert logits.shape[-1] == len(Classes.labels)
    assert torch.isfinite(logits).all()
    assert evaluate(adapted, Classes(), "en", split="train").n > 0


@pytest.mark.parametrize("site", ["mlp.act", "mlp.out", "attn.out"])
def test_interventions_reach_the_adapted_model(site, tmp_path):
    """The adapter's own share must read the changed units too, as in the merged model."""
    lm = tiny.lm()
    lm.model.save_pretrained(tmp_path / "base")
    options = {**FAST, "projections": ("gate", "down")}
    finetune(lm, Answers(), "en", "all", output=tmp_path / "a", **options)
    adapted = load_adapter(lm, tmp_path / "a")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    merged = PeftModel.from_pretrained(base, tmp_path / "a").merge_and_unload().eval()
    whole = lm.with_model(merged)
    units = Units([0, 1], [3, 5])
    with intervene(adapted, units, value=2.0, site=site):
        ours = adapted.model(input_ids=IDS).logits
    with intervene(whole, units, value=2.0, site=site):
        expected = whole.model(input_ids=IDS).logits
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours, adapted.model(input_ids=IDS).logits, atol=1e-3)


def test_activations_held_in_training_change_the_adapter(tmp_path):
    lm = tiny.lm()
    held = Intervention(units=UNITS, value=0.0)
    plain = finetune(lm, Classes(), output=tmp_path / "a", **FAST)
    other = finetune(lm, Classes(), output=tmp_path / "b", intervention=held, **FAST)
    assert plain.losses != other.losses
    assert plain.info["key"] != other.info["key"]
    untouched = lm.model(input_ids=IDS).logits
    with intervene(lm, UNITS):
        assert not torch.allclose(lm.model(input_ids=IDS).logits, untouched)
    torch.testing.assert_close(lm.model(input_ids=IDS).logits, untouched, rtol=0, atol=0)


def test_a_neuron_set_of_another_model_is_refused(tmp_path):
    lm = tiny.lm()
    options = {"method": "lape", "parameters": {}, "site": "mlp.act", "shape": (2, 48)}
    mine = NeuronSet({"en": UNITS}, model=lm.fingerprint, **options)
    other = NeuronSet({"en": UNITS}, model={**lm.fingerprint, "sha256": "0" * 64}, **options)
    finetune(lm, Classes(), "en", mine, output=tmp_path / "a", **FAST)
    with pytest.raises(InputError, match="model"):
        finetune(lm, Classes(), "en", other, output=tmp_path / "b", **FAST)


class Empty(Classes):
    """A training split without examples."""

    def examples(self, lang, split="test", limit=None, seed=0):
        return []


@pytest.mark.parametrize(
    ("neurons", "task", "options", "message"),
    [
        (Units.empty(), Classes(), {}, "set of units is empty"),
        (Units([0], [48]), Classes(), {}, "not of this model"),
        (Units([0], [60]), Classes(), {}, "not of this model"),
        (Units([7], [0]), Classes(), {}, "not of this model"),
        (Units([0, 1], [1, 1]), Classes(), {}, "rank 3 is above the number of selected units"),
        ("some", Classes(), {}, "unknown choice of units 'some'"),
        (UNITS, Empty(), {}, "training set has 0 examples"),
        (UNITS, Classes(), {"rank": 0}, "rank must be at least 1"),
        (UNITS, Classes(), {"learning_rat": 1.0}, "Did you mean 'learning_rate'"),
        (UNITS, Classes(), {"method": "lra"}, "Did you mean 'lora'"),
        (UNITS, Classes(), {"shots": {"hi": 1000}}, "fewer than the 1000 shots"),
        ("none", Answers(), {"attention": False}, "nothing would be trained"),
    ],
)
def test_bad_input_is_one_line(neurons, task, options, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        finetune(tiny.lm(), task, "en", neurons, output=tmp_path / "a", **{**FAST, **options})
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    from langneurons.errors import RunError

    lm = tiny.lm()
    with torch.no_grad():
        lm.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(RunError, match="lower learning_rate"):
        finetune(lm, Classes(), "en", "none", output=tmp_path, **FAST)


def test_an_adapter_of_another_model_or_a_damaged_one_is_refused(tmp_path):
    lm = tiny.lm()
    finetune(lm, Classes(), "en", UNITS, output=tmp_path, **FAST)
    with pytest.raises(InputError, match="was trained on"):
        load_adapter(tiny.lm(seed=1), tmp_path)
    with pytest.raises(InputError, match="no adapter in"):
        load_adapter(lm, tmp_path / "nowhere")
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="missing or damaged"):
        load_adapter(lm, tmp_path)


def test_adapters_of_other_programs_load(tmp_path):
    """Without our description the task type and the head tell enough."""
    lm = tiny.lm()
    finetune(lm, Classes(), "en", UNITS, output=tmp_path, **FAST)
    ours = load_adapter(lm, tmp_path).model(input_ids=IDS).logits
    (tmp_path / "langneurons.json").unlink()
    torch.testing.assert_close(load_adapter(lm, tmp_path).model(input_ids=IDS).logits, ours)


def test_a_finished_run_is_not_trained_again(tmp_path):
    lm = tiny.lm()
    first = finetune(lm, Classes(), "en", UNITS, output=tmp_path, **FAST)
    stamp = (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns
    again = finetune(lm, Classes(), "en", UNITS, output=tmp_path, **FAST)
    assert (tmp_path / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    assert again.losses == first.losses
    other = finetune(lm, Classes(), "en", UNITS, output=tmp_path, **{**FAST, "rank": 2})
    assert other.trainable != first.trainable
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 2
    assert Adapter.load(tmp_path).trainable == other.trainable


class Long(Classes):
    """Texts of which some are longer than the adapter's ``max_length``."""

    size = 12

    def _read(self, lang, split):
        rows = super()._read(lang, split)
        return [
            replace(row, premise=" ".join([row.premise] * (1 + 3 * (n % 4))))
            for n, row in enumerate(rows)
        ]


def test_a_head_on_the_last_position_scores_the_same_in_any_batch(tmp_path):
    lm, length = tiny.lm(), 24
    options = {**FAST, "head": "last-position", "max_length": length}
    finetune(lm, Long(), "en", UNITS, output=tmp_path, **options)
    examples = Long().examples("en")
    lengths = [len(lm.tokenizer(Long().encode(item))["input_ids"]) for item in examples]
    assert min(lengths) < length < max(lengths)
    found = [
        np.array(evaluate(lm, Long(), adapter=tmp_path, batch_size=size).rows[
            "log_likelihoods"].tolist())
        for size in (1, 5, 12)
    ]  # fmt: skip
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-5)
    # Plain PEFT, as the page on fine-tuning shows it.
    base = classification_model(shared_copy(lm.model), ["a", "b", "c"], pad=-1)
    model = PeftModel.from_pretrained(base, tmp_path).eval()
    rows = []
    for item in examples:
        ids = encode_example(Long(), item, lm.tokenizer, length).ids
        left = length - len(ids)
        text = {
            "input_ids": torch.tensor([ids + [0] * left]),
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * left]),
        }
        with torch.no_grad():
            rows.append(model(**text).logits[0].double().log_softmax(-1).numpy())
    np.testing.assert_allclose(np.array(rows), found[0], rtol=1e-5, atol=1e-5)
