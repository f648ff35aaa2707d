"""Building the model of the built-in world, and the packaged one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from langneurons import mini
from langneurons.defaults import BUILT_IN
from langneurons.errors import InputError
from langneurons.mini.build import Batches, build
from langneurons.mini.documents import Style
from langneurons.mini.lexicon import LEXICON
from langneurons.mini.model import new_model, upcycled
from langneurons.mini.recipe import Mixture, Recipe, Stage, mixture_recipe
from langneurons.mini.tokens import train_tokenizer


def tiny() -> Recipe:
    style = Style(line_count=4)
    return dataclasses.replace(
        Recipe(),
        hidden=32,
        layers=2,
        heads=2,
        mlp=48,
        warmup=2,
        tokenizer_documents=60,
        stages=(
            Stage(steps=3, style=style, rows=4, length=48, text_weight=0.5),
            Stage(steps=3, style=style, rows=4, length=64, text_weight=1.0),
        ),
    )


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(
        dataclasses.replace(Recipe(), tokenizer_documents=1500).tokenizer_texts(0), 2560
    )


@pytest.mark.parametrize("lang", mini.LANGUAGES)
def test_names_and_values_are_single_tokens(tokenizer, lang: str) -> None:
    language = LEXICON[lang]
    words = set(language.names)
    for relation in language.relations.values():
        words |= {form for value in relation.values for form in value.split("|")}
    long = [word for word in words if len(tokenizer(language.space + word).input_ids) > 1]
    assert len(long) <= 0.02 * len(words), long


def test_tokenizer_gives_text_back(tokenizer) -> None:
    for lang in mini.LANGUAGES:
        for made in mini.text(lang, 2000):
            assert tokenizer.decode(tokenizer(made).input_ids) == made
    foreign = "Ολα καλά, naïve 数据 – 🙂\tend"
    assert tokenizer.decode(tokenizer(foreign).input_ids) == foreign


def test_batches_mark_the_answers(tokenizer) -> None:
    batches = Batches(tiny(), tokenizer, 0, 6)
    first, again = batches[1], batches[1]
    assert torch.equal(first.ids, again.ids)
    assert torch.equal(first.weights, again.weights)
    assert not torch.equal(first.ids, batches[2].ids)
    assert first.answers.any()
    assert (first.weights[:, 1:][first.answers[:, 1:]] == 1).all()
    assert set(first.weights[~first.answers].unique().tolist()) <= {0.0, 1.0}


def test_first_layer_starts_by_looking_back(tokenizer) -> None:
    """Head h of the first layer attends h + 1 tokens back before any training."""
    recipe = Recipe()
    model = new_model(recipe, tokenizer, 0)
    ids = torch.randint(300, len(tokenizer), (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attention = model(ids, output_attentions=True).attentions[0][0]
    for head in range(recipe.heads):
        back = 39 - attention[head, 39].argmax().item()
        assert back == head + 1


def test_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    recipe = tiny()
    whole = build(tmp_path / "whole", recipe=recipe)
    build(tmp_path / "parts", recipe=recipe, stop_after=3)
    parts = build(tmp_path / "parts", recipe=recipe)
    assert whole["steps"] == parts["steps"] == 6
    a = load_file(tmp_path / "whole" / "model.safetensors")
    b = load_file(tmp_path / "parts" / "model.safetensors")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-3, rtol=1e-2)
    # Nothing is trained again once the build is whole.
    assert build(tmp_path / "parts", recipe=recipe)["steps"] == 6
    with pytest.raises(InputError, match="another recipe or seed"):
        build(tmp_path / "parts", recipe=recipe, seed=1)
    with pytest.raises(InputError, match="minutes must be positive"):
        build(tmp_path / "x", minutes=0)


def test_experts_cut_from_an_mlp_are_together_the_mlp(tokenizer) -> None:
    """With every expert chosen alike, and as many of their units as the MLP has."""
    dense = new_model(tiny(), tokenizer, 0).double().eval()
    model = upcycled(dense, Mixture(experts=4, chosen=4, width=12), 0).double().eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.zero_()
        ids = torch.randint(300, len(tokenizer), (2, 20))
        torch.testing.assert_close(model(ids).logits, dense(ids).logits)
    again = upcycled(dense, Mixture(experts=4, chosen=2, width=24), 1)
    units = again.model.layers[1].mlp.experts.gate_up_proj[:, :24].reshape(96, -1)
    rows = dense.model.layers[1].mlp.gate_proj.weight.float()
    counts = (units[:, None] == rows[None]).all(-1).sum(0)
    assert counts.tolist() == [2] * 48  # each unit in two experts


def test_a_mixture_is_built_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    stages = tuple(
        dataclasses.replace(s, steps=2, rows=2, length=32) for s in mixture_recipe().stages
    )
    recipe = dataclasses.replace(mixture_recipe(), stages=stages, warmup=1)
    whole = build(tmp_path / "whole", recipe=recipe)
    build(tmp_path / "parts", recipe=recipe, stop_after=2)
    assert build(tmp_path / "parts", recipe=recipe)["steps"] == whole["steps"] == 4
    first, second = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("whole", "parts")
    )
    assert type(first).__name__ == "MixtralForCausalLM"
    assert first.config.num_local_experts == 8
    for name, weight in first.named_parameters():
        torch.testing.assert_close(second.get_parameter(name), weight, atol=1e-3, rtol=1e-2)
    begun = upcycled(AutoModelForCausalLM.from_pretrained(mini.model_path()), recipe.mixture, 0)
    moved = {
        name
        for name, weight in begun.named_parameters()
        if not torch.allclose(first.get_parameter(name), weight, atol=1e-4)
    }
    assert {"model.layers.0.mlp.gate.weight", "model.layers.3.mlp.experts.down_proj"} <= moved


def test_build_within_minutes_lowers_the_steps(tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        tiny(), stages=tuple(dataclasses.replace(s, steps=500_000) for s in tiny().stages)
    )
    facts = build(tmp_path, minutes=0.01, recipe=recipe, stop_after=2)
    assert facts["steps"] == 2
    assert 2 <= facts["planned_steps"] < 10**5


@pytest.mark.parametrize("name", BUILT_IN)
def test_packaged_model_loads_and_is_small(name: str) -> None:
    folder = mini.model_path(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8_000_000
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert {tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token} == {
        "<pad>",
        "<s>",
        "</s>",
    }
    assert tokenizer("Maria").input_ids[0] != tokenizer.bos_token_id
    assert model.dtype == torch.float32
    facts = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    assert facts["seed"] == 0
    assert facts["recipe"]["layers"] == model.config.num_hidden_layers
    ids = tokenizer(mini.text("en", 400, split="heldout")[0], return_tensors="pt").input_ids
    with torch.no_grad():
        loss = model(ids, labels=ids).loss
    assert loss < 2.5


@pytest.mark.parametrize(
    ("name", "lang"),
    [*(("mini", lang) for lang in mini.LANGUAGES), ("mini-moe", "en"), ("mini-moe", "zh")],
)
def test_packaged_model_answers_questions(name: str, lang: str) -> None:
    """Without any fine-tuning it finds values of the asked relation in the context."""
    folder = mini.model_path(name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompts, golds = [], []
    for part in mini.qa(lang, 60, split="dev")["data"][0]["paragraphs"]:
        for entry in part["qas"]:
            prompts.append(mini.qa_prompt(part["context"], entry["question"], lang))
            golds.append(entry["told_values"])
    made = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(
            **made, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
    texts = tokenizer.batch_decode(ids[:, made.input_ids.shape[1] :], skip_special_tokens=True)
    written = [text.split("\n")[0].strip() for text in texts]
    found = [answer in told for answer, told in zip(written, golds, strict=True)]
    assert sum(found) >= 0.8 * len(found)
