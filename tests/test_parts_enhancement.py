"""Training on raw text as a part of a study, and its tables by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from langneurons import Study
from langneurons.artifacts import read_table
from langneurons.config import loading
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.evaluation import perplexity
from langneurons.finetuning import get_recipe, load_adapter
from langneurons.finetuning.targets import trainable_parameters
from langneurons.identification import NeuronSet, Units
from langneurons.models import load
from langneurons.parts.enhancement.page import sentences
from langneurons.parts.enhancement.run import _next, lora_rank
from langneurons.parts.enhancement.tables import against, changes, transfer
from langneurons.reporting.sentences import Sentence
from study_world import build, documents

SMALL = {
    "neurons": "lape", "languages": ["hi"], "tokens": 300, "block": 32, "choice_tokens": 100,
    "rates": [1e-3, 1e-2], "seeds": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("enhancement"))


def study(world, **spec):
    parts = {"include": "study.yaml", "enhancement": {**SMALL, **spec}}
    if "task" in spec:
        parts |= {"include": "tasks.yaml", "interventions": None, "adapters": {}}
    if spec.get("neurons") in ("one", "stream"):
        more = {"languages": ["hi"]} if spec["neurons"] == "one" else {"site": "attn.out"}
        parts["neurons"] = {spec["neurons"]: {"method": "lape", **more}}
    path = world / "enhancement.yaml"
    path.write_text(yaml.safe_dump(parts), encoding="utf-8")
    return Study.from_yaml(path)


@pytest.mark.slow
def test_every_arm_from_file_to_report(world):
    made = study(world, task="xnli", task_arms=["own", "full"])
    assert made.run(world / "run").failed == []
    table = pd.read_parquet(world / "run" / "tables" / "enhancement.parquet")
    arms = ["own", "random", "matched", "other", "all", "lora", "full"]
    assert list(dict.fromkeys(table["arm"])) == sorted(arms)
    assert set(table["measured"]) == {"en", "es", "hi", "others"}
    trained = table.drop_duplicates("arm").set_index("arm")["trained"]
    assert trained["own"] == trained["random"] == trained["matched"] < trained["all"]
    assert trained["all"] < trained["full"]
    moved = pd.read_parquet(world / "run" / "tables" / "enhancement_transfer.parquet")
    assert set(moved["arm"]) == {"own", "full"}
    assert set(moved["measured"]) == {"hi", "en"}
    # What is kept does what was measured: the units' weights, and nothing of the larger arms.
    folder = world / "run" / "enhancement" / "hi"
    losses = read_table(folder / "own" / "1" / "losses.parquet")
    lm = load(str(world / "model"))
    adapted = load_adapter(lm, folder / "own" / "1" / "adapter")
    held = documents("hi")[9::10]
    here = perplexity(adapted, make_blocks(held, lm.tokenizer, block=32, tokens=600))
    whole = losses[losses["measured"] == "hi"]
    assert whole["loss_sum"].sum() == pytest.approx(here.rows["loss_sum"].sum(), rel=1e-5)
    assert not (folder / "full" / "1" / "adapter").exists()
    assert not list(folder.rglob("work"))
    page = (world / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Training a language's own weights" in page.replace("&#x27;", "'").replace("&#39;", "'")
    assert {outcome.status for outcome in made.run(world / "run").outcomes} == {"kept"}


def test_own_units_beside_equally_active_ones(world):
    """The fast form: two arms, one rate."""
    made = study(world, arms=["own", "matched"], rates=[1e-2], seeds=2)
    assert made.run(world / "quick").failed == []
    table = pd.read_parquet(world / "quick" / "tables" / "enhancement_against.parquet")
    assert set(table["arm"]) == {"matched"}
    single = pd.read_parquet(world / "quick" / "tables" / "enhancement_seeds.parquet")
    own = single[(single["arm"] == "own") & (single["measured"] == "hi")]
    assert (own["after"] < own["before"]).all()
    assert not pd.read_parquet(world / "quick" / "tables" / "enhancement.parquet")["edge"].any()


def losses(seed_shift):
    """Two documents of 10 tokens in each of three languages; what each arm adds, by seed."""
    rows = []
    for arm, shift in seed_shift.items():
        for seed, value in enumerate(shift):
            for column in ("hi", "en", "es"):
                for document, more in enumerate((-1.0, 1.0)):
                    rows.append(
                        {"language": "hi", "arm": arm, "seed": seed, "measured": column,
                         "document": document, "tokens": 10, "before": 30.0,
                         "loss_sum": 30.0 + 10 * value + more}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def about(*arms):
    return pd.DataFrame(
        [{"language": "hi", "arm": arm, "units": 3, "trained": 9, "rate": 0.1} for arm in arms]
    )


def test_ratios_and_differences_by_hand():
    data = losses({"own": [-0.3, -0.2, -0.4], "matched": [-0.1, -0.1, -0.1]})
    rates = pd.DataFrame(
        [{"language": "hi", "arm": "own", "rate": 0.1, "chosen": True, "edge": True}]
    )
    table = changes(data, about("own", "matched"), rates).set_index(["arm", "measured"])
    row = table.loc[("own", "hi")]
    assert row["ratio"] == pytest.approx(np.exp(-0.3))
    # Over seeds: t with 2 degrees of freedom, standard error 0.1 / sqrt(3).
    assert np.log(row["seeds_high"]) == pytest.approx(-0.3 + 4.302653 * 0.1 / np.sqrt(3), rel=1e-5)
    # Over two documents, 0.2 apart a token: standard error 0.1, t with 1 degree of freedom.
    assert np.log(row["high"]) == pytest.approx(-0.3 + 12.7062 * 0.1, rel=1e-4)
    others = table.loc[("own", "others")]
    assert others["ratio"] == pytest.approx(np.exp(-0.3))
    assert np.log(others["high"]) == pytest.approx(-0.3 + 12.7062 * 0.1 / np.sqrt(2), rel=1e-4)
    assert list(table["edge"].groupby("arm").first()) == [False, True]
    found = against(data).set_index("measured").loc["hi"]
    assert found["difference"] == pytest.approx(-0.2)
    assert found["low"] == pytest.approx(-0.2 - 4.302653 * 0.1 / np.sqrt(3), rel=1e-5)
    # The same documents under both: nothing is left between them.
    assert found["documents_low"] == pytest.approx(-0.2)
    assert found["p_holm"] == found["p_value"] == pytest.approx(0.0742, abs=1e-4)


def test_transfer_pairs_seeds_and_examples():
    rows = [
        {"language": lang, "arm": arm, "seed": seed, "measured": "hi", "id": str(number),
         "group": str(number), "metric": "accuracy", "score": 100.0 * (number < right[seed])}
        for lang, arm, right in (("-", "none", (4, 6)), ("hi", "own", (6, 7)))
        for seed in range(2)
        for number in range(10)
    ]  # fmt: skip
    (row,) = transfer(pd.DataFrame(rows)).to_dict("records")
    assert (row["plain"], row["score"], row["difference"]) == (50.0, 65.0, 15.0)
    assert row["low"] < 0 < row["high"]
    assert row["examples_low"] < 15 < row["examples_high"]


def test_sentences_claim_what_the_intervals_carry():
    def said(own, matched):
        data = losses({"own": own, "matched": matched})
        rates = pd.DataFrame(columns=["language", "arm", "rate", "chosen", "edge"])
        rates = rates.astype({"chosen": bool, "edge": bool})
        return list(sentences(changes(data, about("own", "matched"), rates), against(data)))

    apart = said([-0.30, -0.31, -0.29], [-0.1, -0.1, -0.1])
    assert "lower with own units in hi" in apart[1].text
    assert apart[1].tone == "finding"
    same = said([-0.1, -0.5, 0.3], [-0.1, -0.1, -0.1])
    assert "no difference found" in same[1].text
    assert same[1].tone == "none"
    once = said([-0.3], [-0.1])
    assert isinstance(once[1], Sentence)
    assert "trained once" in once[1].text


def test_lora_has_about_as_many_weights_as_the_units(world):
    lm = load("mini")
    for many in (40, 160, 640):
        units = Units([n % 4 for n in range(many)], [n // 4 for n in range(many)])
        recipe = get_recipe("enhancement")
        own = trainable_parameters(lm, units, recipe)
        rank = lora_rank(lm, units)
        lora = trainable_parameters(lm, "all", recipe.replace(method="lora", rank=rank))
        assert abs(lora - own) <= 0.5 * lora / rank + 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"languages": ["zh"]}, "unknown language 'zh'"),
        ({"neurons": "two", "languages": ["es"]}, "two has no units for es"),
        ({"task": "xnli", "task_arms": ["lora"]}, "not learnt on top of LoRA"),
        ({"finetune": {"optimizer": "sgd"}}, "enhancement.finetune: unknown training option"),
        ({"task": "xnlu"}, "unknown task 'xnlu'"),
        ({"neurons": "one"}, "one has one language alone, leave out arm other"),
        ({"neurons": "stream"}, "trains units of the MLP, and those of stream are of attn.out"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(world, spec, message):
    with pytest.raises(InputError, match=message):
        study(world, **spec).plan()


def test_a_published_set_is_read(world):
    """Lists of units of languages without names, as ``torch.save`` writes them."""
    lists = [[torch.tensor([1, 4]), torch.tensor([7])], [torch.tensor([2]), torch.tensor([0])]]
    torch.save(lists, world / "mask.pth")
    published = {"file": str(world / "mask.pth"), "languages": ["hi", "es"]}
    parts = {"include": "study.yaml", "perplexity": {"neurons": [], "tokens": 600}}
    parts |= {"neurons": {"lape": None, "two": None, "published": published}}
    (world / "published.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")
    made = Study.from_yaml(world / "published.yaml")
    assert made.run(world / "published").failed == []
    found = NeuronSet.load(world / "published" / "neurons" / "published.json")
    assert found["hi"] == Units([0, 0, 1], [1, 4, 7])
    assert found["es"] == Units([0, 1], [2, 0])
    # Another file under the same name is another set.
    torch.save(lists[::-1], world / "mask.pth")
    again = {item.name: item.status for item in made.run(world / "published").outcomes}
    assert again["neurons/published"] == "done"
    assert again["statistics/hi"] == "kept"
    parts["neurons"]["published"] = {**published, "parameters": {"top": 0.1}}
    (world / "published.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")
    with pytest.raises(InputError, match="a set read from a file takes no derive or parameters"):
        Study.from_yaml(world / "published.yaml").plan()


DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MASK = DATA / "lape-published" / "Llama-3.1-8B.enhancement-5.neuron.pth"


@pytest.mark.skipif(not MASK.is_file(), reason="no ../shared/data here")
def test_the_published_mask_fits_its_preset():
    spec = loading.load("enhancement-8b").context().sets["published"]
    found = NeuronSet.load(MASK, languages=spec.languages, shape=(32, 14336), site="mlp.act")
    assert list(found) == spec.languages
    assert Path(spec.file).name == MASK.name
    assert all(len(found[lang]) > 100 for lang in found)


def test_a_set_without_another_language_with_units_says_so():
    units = {"en": Units([], []), "hi": Units([0], [1])}
    spec = SimpleNamespace(neurons="lape")
    workshop = SimpleNamespace(
        context=SimpleNamespace(spec_of=lambda word: spec), neurons=lambda name: units
    )
    with pytest.raises(InputError, match="has units for hi alone: leave arm 'other' out"):
        _next(workshop, "hi")
    assert _next(workshop, "en") == "hi"


def test_too_little_text_says_so(world):
    made = study(world, arms=["own"], tokens=100_000, choice_tokens=10_000)
    outcome = made.run(world / "short")
    reasons = " ".join(item.reason + item.trace for item in outcome.outcomes)
    assert "fewer than enhancement.tokens" in reasons
    made = study(world, arms=["own"], tokens=100_000, choice_tokens=1)
    reasons = " ".join(item.reason + item.trace for item in made.run(world / "short").outcomes)
    assert "for the choice of a learning rate" in reasons


def test_the_recipe_is_that_of_the_released_code():
    recipe = get_recipe("enhancement")
    assert (recipe.learning_rate, recipe.batch_size, recipe.epochs) == (1e-4, 4, 1.0)
    assert (recipe.weight_decay, recipe.clip, recipe.warmup) == (0.01, 1.0, 0.0)
    assert (recipe.projections, recipe.schedule) == (("gate", "up", "down"), "constant")
    spec = loading.load("enhancement").context().spec_of("enhancement")
    assert set(spec.arms) == {"own", "random", "matched", "other", "all", "lora", "full"}
