"""Training against a loop written out by its definition, and settings that must not be ignored."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import tiny
from finetuning_world import Classes
from langneurons.errors import InputError
from langneurons.finetuning import RECIPES, finetune, get_recipe
from langneurons.finetuning.adapter import build_base
from langneurons.finetuning.description import Purpose
from langneurons.finetuning.examples import Item, epoch_batches, optimiser_steps
from langneurons.finetuning.rows import lora_layers
from langneurons.finetuning.run import build_trainable
from langneurons.finetuning.targets import choose, make_plan, trainable_parameters
from langneurons.finetuning.training import Data, train
from langneurons.identification import NeuronSet, Units

SETTINGS = {
    "batch_size": 3, "accumulation": 2, "steps": 9, "learning_rate": 0.05, "weight_decay": 0.3,
    "betas": (0.7, 0.9), "warmup": 0.4, "clip": 0.2, "dtype": "fp32", "seed": 5,
}  # fmt: skip


class Bag(nn.Module):
    """Sums of embeddings through a linear layer: one output a text, or one a position."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.embedding = nn.Embedding(12, 4)
        self.out = nn.Linear(4, 3 if kind == "classification" else 12)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[..., None].to(self.embedding.weight.dtype)
        states = (self.embedding(input_ids) * mask).cumsum(1)
        return SimpleNamespace(
            logits=self.out(states[:, -1] if self.kind == "classification" else states)
        )


def items(kind: str) -> list[Item]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(11):
        length = 2 + number % 5
        ids = torch.randint(1, 12, (length,), generator=generator).tolist()
        # Answers of one to five tokens: batches differ in their number of terms.
        start = min(1 + number % 2, length - 1)
        found.append(Item(ids, number % 3 if kind == "classification" else start))
    return found


def by_definition(kind: str, changes: dict[str, object]) -> tuple[Bag, list[float]]:
    """AdamW (Loshchilov and Hutter 2019) with clipped mean gradients and a linear schedule."""
    recipe = get_recipe(None, **{**SETTINGS, **changes})
    model, data = Bag(kind).double(), items(kind)
    parameters = list(model.parameters())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    steps = optimiser_steps(
        [len(item.ids) for item in data], batch_size=recipe.batch_size,
        accumulation=recipe.accumulation, epochs=1, steps=recipe.steps, seed=recipe.seed,
    )  # fmt: skip
    warm, losses = math.ceil(recipe.warmup * recipe.steps), []
    for number, micro in enumerate(steps):
        terms = []
        for index in (place for batch in micro for place in batch):
            ids = torch.tensor([data[index].ids])
            logits = model(ids, torch.ones_like(ids)).logits[0]
            if kind == "classification":
                terms.append(-logits.log_softmax(-1)[data[index].label])
            else:
                start = data[index].label
                rows = logits[start - 1 : -1].log_softmax(-1)
                terms.extend(-rows[torch.arange(len(rows)), ids[0, start:]])
        loss = torch.stack(terms).mean()
        losses.append(float(loss))
        grads = torch.autograd.grad(loss, parameters)
        norm = torch.sqrt(sum((g**2).sum() for g in grads))
        scale = min(1.0, recipe.clip / float(norm))
        rate = recipe.learning_rate * (
            number / warm if number < warm else (recipe.steps - number) / (recipe.steps - warm)
        )
        b1, b2 = recipe.betas
        with torch.no_grad():
            for p, g, m, v in zip(parameters, grads, first, second, strict=True):
                p.mul_(1 - rate * recipe.weight_decay)
                m.mul_(b1).add_(scale * g, alpha=1 - b1)
                v.mul_(b2).add_((scale * g) ** 2, alpha=1 - b2)
                step = (m / (1 - b1 ** (number + 1))) / (
                    (v / (1 - b2 ** (number + 1))).sqrt() + 1e-8
                )
                p.sub_(rate * step)
    return model, losses


def by_library(kind: str, path, **changes) -> tuple[Bag, list[float]]:
    model = Bag(kind)
    recipe = get_recipe(None, **{**SETTINGS, **changes})
    log = train(
        model, Data(items(kind), [], kind, 0), recipe, checkpoint=path / "c.safetensors", key="k"
    )
    return model, log.losses


@pytest.mark.parametrize("kind", ["classification", "qa"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"clip": 1e9}, {"warmup": 0.0}, {"weight_decay": 0.0}, {"accumulation": 1}, {"seed": 6}],
    ids=str,
)
def test_training_by_definition(kind, changes, tmp_path):
    expected, losses = by_definition(kind, changes)
    model, found = by_library(kind, tmp_path, **changes)
    assert found == pytest.approx(losses, rel=1e-4)
    for name, parameter in model.named_parameters():
        wanted = dict(expected.named_parameters())[name].float()
        torch.testing.assert_close(parameter, wanted, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.0}, {"betas": (0.9, 0.9)}, {"betas": (0.7, 0.99)}, {"warmup": 0.0},
        {"clip": 1e9}, {"learning_rate": 0.06}, {"schedule": "constant_with_warmup"},
        {"accumulation": 1}, {"batch_size": 2}, {"seed": 6},
    ],
    ids=str,
)  # fmt: skip
def test_no_setting_of_the_optimiser_is_ignored(change, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, _ = by_library("qa", tmp_path / "a")
    other, _ = by_library("qa", tmp_path / "b", **change)
    assert not torch.allclose(one.out.weight, other.out.weight, rtol=1e-4, atol=1e-5)


def test_batches_of_another_seed_or_epoch_are_others():
    lengths = [3 + n % 7 for n in range(60)]
    orders = {
        tuple(map(tuple, epoch_batches(lengths, 4, seed=seed, epoch=epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_heads_of_other_seeds_start_elsewhere(tmp_path):
    lm = tiny.lm()
    info = Purpose("classification", ("a", "b", "c"), pad=0)
    heads = [build_base(lm, info, seed).score.weight for seed in (0, 1, 0)]
    assert torch.equal(heads[0], heads[2])
    assert not torch.allclose(heads[0], heads[1])
    # And the seed of a run is the seed of its head.
    losses = {
        seed: finetune(
            lm, Classes(), "en", output=tmp_path / str(seed), seed=seed, steps=1, batch_size=48,
            attention=False, dtype="fp32",
        ).losses[0]
        for seed in (0, 1)
    }  # fmt: skip
    # Every example is in the first batch, so nothing but the head can differ.
    assert losses[0] != pytest.approx(losses[1], abs=1e-6)


@pytest.mark.parametrize("projection", ["gate", "down"])
def test_dropout_reaches_chosen_rows_and_columns(projection):
    lm = tiny.lm()
    units = Units([0, 0, 0, 1, 1, 1], [1, 2, 40, 0, 9, 47])
    recipe = get_recipe(None, dropout=0.5, projections=(projection,), attention=False, rank=3)
    info = Purpose("qa")
    model = build_trainable(lm, info, choose(lm, units), recipe)
    with torch.no_grad():
        for _, layer in lora_layers(model):
            layer.lora_B["default"].weight.fill_(0.3)
    ids = torch.tensor([[1, 5, 9, 33]])
    torch.manual_seed(0)
    model.train()
    assert not torch.allclose(model(input_ids=ids).logits, model(input_ids=ids).logits)
    model.eval()
    still = model(input_ids=ids).logits
    assert torch.equal(still, model(input_ids=ids).logits)
    # The mean over many draws of a layer is the layer without dropout: scaled as dropout is.
    _, layer = next(iter(lora_layers(model)))
    x = torch.randn(1, 2, layer.in_features, generator=torch.Generator().manual_seed(1))
    quiet = layer(x)
    layer.train()
    drawn = torch.stack([layer(x) for _ in range(1000)]).mean(0)
    torch.testing.assert_close(drawn, quiet, rtol=0.1, atol=0.25)


PUBLISHED = {
    "paper-xnli": {
        "learning_rate": 1e-5, "weight_decay": 0.1, "betas": (0.95, 0.999), "warmup": 0.01,
        "clip": 10.0, "rank": 8, "alpha": 16.0, "batch_size": 1, "accumulation": 8, "epochs": 1,
        "schedule": "linear", "head": "last-position", "split": "train[:25%]", "dtype": "bf16",
    },
    "paper-xquad": {
        "learning_rate": 5e-5, "weight_decay": 0.1, "betas": (0.95, 0.999), "warmup": 0.01,
        "clip": 10.0, "rank": 64, "alpha": 128.0, "batch_size": 8, "accumulation": 1,
        "epochs": 10, "schedule": "linear", "max_length": 512, "dtype": "bf16",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_recipes_hold_its_numbers(name):
    """Those of the released code (arXiv 2503.17456)."""
    found = RECIPES[name]
    assert {key: getattr(found, key) for key in PUBLISHED[name]} == PUBLISHED[name]
    assert copy.copy(found) == get_recipe(name)


DEFAULTS = {
    "method": "lora", "projections": ("gate",), "rank": 8, "alpha": 16.0, "dropout": 0.0,
    "attention": True, "head": "last-token", "epochs": 1.0, "steps": None, "batch_size": 32,
    "accumulation": 1, "learning_rate": 5e-4, "weight_decay": 0.01, "betas": (0.9, 0.999),
    "schedule": "linear", "warmup": 0.06, "clip": 1.0, "dtype": "auto",
    "gradient_checkpointing": False, "max_length": 512, "seed": 0, "split": "train", "limit": None,
    "shots": {}, "evaluate_every": None, "evaluation_split": "dev", "evaluation_limit": 500,
    "patience": None, "checkpoint_every": None,
}  # fmt: skip


def test_defaults_are_part_of_every_result_and_stay():
    """A number changed here changes every training that does not name it."""
    found = get_recipe(None)
    assert {name: getattr(found, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("method", ["lora", "rows"])
@pytest.mark.parametrize("number", [3, 33, 48])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_trained_weights_are_as_many_as_the_formula_says(family, number, method):
    """All units of a layer, nearly all, and few; what is chosen wholly is plain LoRA."""
    lm = tiny.lm(family)
    projections = ("gate", "up", "down") if family == "llama" else ("gate", "down")
    units = Units([0] * number + [1] * 3, [*range(number), 1, 2, 3])
    recipe = get_recipe(None, method=method, projections=projections, rank=3)
    model = build_trainable(lm, Purpose("qa"), choose(lm, units), recipe)
    found = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found == trainable_parameters(lm, units, recipe)
    plan = make_plan(lm, choose(lm, units), recipe)
    mlp = [name for name in plan.dense if "attn" not in name]
    assert len(mlp) == (len(projections) if number == 48 and method == "lora" else 0)


def test_units_are_trained_at_their_own_site():
    lm = tiny.lm()
    for site in ("mlp.act", "attn.q", "attn.v", "attn.out"):
        units = Units([0, 1], [3, 7], site=site)
        assert choose(lm, units).site == site
        sets = NeuronSet({"en": units}, (2, lm.sites[site].width), site=site, method="x")
        assert choose(lm, sets).site == site
    assert choose(lm, Units([0], [3])).site == "mlp.act"


def test_a_head_has_as_many_rows_as_it_is_wide():
    lm = tiny.lm()
    one = Units([0], [1], site="attn.head")
    plan = make_plan(lm, choose(lm, one), get_recipe(None, rank=8))
    assert plan.names
    with pytest.raises(InputError, match=r"rank 9 is above the number of selected units \(8\)"):
        make_plan(lm, choose(lm, one), get_recipe(None, rank=9))
