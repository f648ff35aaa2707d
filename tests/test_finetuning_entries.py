"""Rows and columns trained as weights of their own, against full matrices with masked gradients."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import tiny
from finetuning_world import Classes
from langneurons.artifacts import read_tensors, write_tensors
from langneurons.data import make_blocks
from langneurons.errors import ArtifactError, InputError
from langneurons.finetuning import continue_pretraining, finetune, get_recipe, load_adapter
from langneurons.finetuning.description import Purpose
from langneurons.finetuning.entries import FILE, entries, put
from langneurons.finetuning.examples import block_items, collate, optimiser_steps
from langneurons.finetuning.loss import accepted, loss_sum
from langneurons.finetuning.run import build_trainable
from langneurons.finetuning.targets import choose
from langneurons.finetuning.training import Data, train
from langneurons.identification import Units
from langneurons.models.projection import is_transposed, matrix

UNITS = Units([0, 0, 0, 1, 1], [1, 2, 17, 0, 9])
TEXTS = ["the cat and the dog " * 6, "dog dog cat", "and the cat and the cat " * 4]
STEPS = {"steps": 5, "learning_rate": 0.03, "weight_decay": 0.4, "dtype": "fp32"}
IDS = torch.tensor([[1, 5, 9, 33, 40, 7], [1, 6, 8, 12, 60, 61]])


def places(lm, choice, projections):
    """(linear module, dimension of the matrix, numbers) of every trained part, by definition."""
    for layer in range(lm.layers):
        index = (
            torch.arange(lm.sites.units)
            if choice == "all"
            else UNITS.indices[UNITS.layers == layer]
        )
        if "gate" in projections:
            gate = lm.sites.gates[layer]
            yield gate.module, 0, index + gate.start
        if "up" in projections:
            up = lm.sites.ups[layer]
            yield up.module, 0, index + up.start
        yield lm.sites.downs[layer], 1, index


def reference(lm, choice, recipe, items):
    """AdamW on whole matrices; all but the chosen entries get gradient and decay zero."""
    parts = list(places(lm, choice, recipe.projections))
    matrices = {id(module): matrix(module) for module, _, _ in parts}
    masks = {key: torch.zeros_like(weight) for key, weight in matrices.items()}
    for module, dim, index in parts:
        masks[id(module)].index_fill_(dim, index, 1.0)
    weights = [module.weight for module in {id(m): m for m, _, _ in parts}.values()]
    shown = {}
    for module, _, _ in parts:
        mask = masks[id(module)]
        shown[id(module.weight)] = mask.T if is_transposed(module) else mask
    first = {id(w): torch.zeros_like(w) for w in weights}
    second = {id(w): torch.zeros_like(w) for w in weights}
    for weight in weights:
        weight.requires_grad_(True)
    steps = optimiser_steps(
        [len(item.ids) for item in items], batch_size=recipe.batch_size, accumulation=1,
        epochs=1, steps=recipe.steps, seed=recipe.seed,
    )  # fmt: skip
    b1, b2 = recipe.betas
    for number, ((indices,),) in enumerate(zip(steps, strict=True), start=1):
        batch = collate([items[i] for i in indices], kind="text", pad=0)
        count = sum(len(items[i].ids) - items[i].label for i in indices)
        for weight in weights:
            weight.grad = None
        (loss_sum(lm.model, batch, accepted(lm.model)) / count).backward()
        grads = {id(w): w.grad * shown[id(w)] for w in weights}
        norm = torch.sqrt(sum((g**2).sum() for g in grads.values()))
        scale = min(1.0, recipe.clip / (float(norm) + 1e-6))
        with torch.no_grad():
            for weight in weights:
                key, g = id(weight), grads[id(weight)] * scale
                weight -= recipe.learning_rate * recipe.weight_decay * weight * shown[key]
                first[key] = b1 * first[key] + (1 - b1) * g
                second[key] = b2 * second[key] + (1 - b2) * g**2
                mean = first[key] / (1 - b1**number)
                spread = (second[key] / (1 - b2**number)).sqrt() + 1e-8
                weight -= recipe.learning_rate * mean / spread * shown[key]
    for weight in weights:
        weight.requires_grad_(False)


@pytest.mark.parametrize("choice", ["units", "all"])
@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
def test_equal_to_whole_matrices_with_masked_gradients(family, choice, tmp_path):
    projections = ("gate", "down") if family == "gpt2" else ("gate", "up", "down")
    recipe = get_recipe("enhancement", projections=projections, **STEPS)
    still = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    plain = tiny.lm(family, **(still if family == "gpt2" else {}))
    lm = plain.with_model(copy.deepcopy(plain.model).double())
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    items = block_items(make_blocks(TEXTS, lm.tokenizer, block=24))
    model = build_trainable(
        lm, Purpose("text"), choose(lm, UNITS if choice == "units" else "all"), recipe
    )
    train(model, Data(items, [], "text", 0), recipe, checkpoint=tmp_path / "c", key="k")
    assert all(torch.equal(p, before[name]) for name, p in lm.model.named_parameters())
    found = entries(model)
    assert {item.values.dtype for item in found.values()} == {torch.float64}
    expected = plain.with_model(copy.deepcopy(plain.model).double())
    reference(expected, "all" if choice == "all" else "units", recipe, items)
    after = dict(expected.model.named_modules())
    for name, item in found.items():
        wanted = matrix(after[name])
        dim = 0 if item.side == "rows" else 1
        torch.testing.assert_close(
            item.values.detach(), wanted.index_select(dim, item.index), rtol=1e-10, atol=1e-12
        )
        moved = (wanted - matrix(dict(lm.model.named_modules())[name])).abs().sum(1 - dim)
        assert moved.nonzero().flatten().tolist() == item.index.tolist()


READ = """
import json, sys
import torch
import tiny
from langneurons.finetuning import load_adapter
from transformers import AutoModelForCausalLM

ids = torch.tensor(json.loads(sys.argv[2]))
with torch.no_grad():
    adapted = load_adapter(tiny.lm(), sys.argv[1]).model
    adapted.save_pretrained(sys.argv[1] + "/merged")
    whole = AutoModelForCausalLM.from_pretrained(sys.argv[1] + "/merged").eval()
    print(json.dumps([m(input_ids=ids).logits.tolist() for m in (adapted, whole)]))
"""


def trained(lm, folder, **options):
    options = {"batch_size": 2, **STEPS, **options}
    return continue_pretraining(
        lm, TEXTS, "en", UNITS, output=folder, block=24, recipe="enhancement", **options
    )


def test_small_on_disk_read_by_another_process_and_a_plain_checkpoint(tmp_path):
    lm = tiny.lm()
    before = copy.deepcopy(lm.model.state_dict())
    adapter = trained(lm, tmp_path)
    tensors, _ = read_tensors(tmp_path / FILE)
    counted = sum(t.numel() for name, t in tensors.items() if not name.endswith("index"))
    assert adapter.trainable == counted == 3 * len(UNITS) * tiny.HIDDEN
    assert [path.name for path in tmp_path.glob("*.safetensors")] == [FILE]
    assert (tmp_path / FILE).stat().st_size < 4 * counted + 4000
    adapted = load_adapter(lm, tmp_path)
    with torch.no_grad():
        here = adapted.model(input_ids=IDS).logits
        assert not torch.allclose(here, lm.model(input_ids=IDS).logits, atol=1e-3)
    state = lm.model.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in before)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path), json.dumps(IDS.tolist())],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    for logits in json.loads(done.stdout.splitlines()[-1]):
        torch.testing.assert_close(torch.tensor(logits), here, rtol=1e-6, atol=1e-6)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    lm = tiny.lm()
    whole = trained(lm, tmp_path / "whole")
    step, done = torch.optim.AdamW.step, []

    def killed(self, *args, **kwargs):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(lm, tmp_path / "part", checkpoint_every=1)
    monkeypatch.undo()
    part = trained(lm, tmp_path / "part", checkpoint_every=1)
    assert part.losses == whole.losses
    one, _ = read_tensors(tmp_path / "whole" / FILE)
    two, _ = read_tensors(tmp_path / "part" / FILE)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_bfloat16_weights_learn_in_float32(tmp_path):
    plain = tiny.lm()
    lm = plain.with_model(copy.deepcopy(plain.model).bfloat16())
    lm._origin = None
    trained(lm, tmp_path, gradient_checkpointing=True)
    tensors, _ = read_tensors(tmp_path / FILE)
    assert {t.dtype for t in tensors.values()} == {torch.float32, torch.int64}
    assert load_adapter(lm, tmp_path).dtype == torch.bfloat16


def test_what_cannot_be_is_refused(tmp_path):
    lm = tiny.lm()
    with pytest.raises(InputError, match="set attention to False"):
        trained(lm, tmp_path, attention=True)
    with pytest.raises(InputError, match="take method 'rows'"):
        finetune(lm, Classes(), "en", UNITS, output=tmp_path, method="weights", attention=False)
    trained(lm, tmp_path)
    tensors, _ = read_tensors(tmp_path / FILE)
    name = next(iter(tensors)).removesuffix(".index").rpartition(".")[0]
    for other, tree, message in (
        ({f"{name}.rows.index": torch.tensor([0])}, tiny.model(), "train again"),
        ({"no.rows.index": torch.tensor([0]), "no.rows": torch.zeros(1, 2)}, tiny.model(),
         "it has no 'no'"),
        (tensors, tiny.model(hidden_size=64), "of another shape"),
    ):  # fmt: skip
        write_tensors(tmp_path / "other.safetensors", other)
        with pytest.raises((InputError, ArtifactError), match=message):
            put(nn.Module.eval(tree), tmp_path / "other.safetensors")
