"""Information, harm and their relation, by definition and on planted units."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, spearmanr
from sklearn.metrics import mutual_info_score

import tiny
from finetuning_world import Classes
from langneurons.data.tasks import get_task
from langneurons.evaluation import evaluate
from langneurons.evaluation.examples import AnswerLoss, example_activations, labels_of
from langneurons.evaluation.information import (
    mutual_information,
    null_separation,
    separation,
    within_groups,
)
from langneurons.evaluation.polysemanticity import partial_rank_correlation, polysemanticity, shares
from langneurons.evaluation.token_loss import find_head
from langneurons.identification import NeuronSet, Units
from langneurons.intervention import Intervention
from langneurons.models import hook_site
from langneurons.statistics import collect

TEXTS = {"en": ["the cat and the dog run over the hill " * 3] * 8,
         "hi": ["बिल्ली और कुत्ता पहाड़ी पर नदी के पास"] * 8}  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 4), st.booleans())
def test_separation_is_mann_and_whitneys(seed, classes, ties):
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, 30)])
    values = torch.from_numpy(generator.normal(size=(len(labels), 3)))
    values = values.round() if ties else values
    found = separation(values, labels)
    for unit in range(3):
        best = 0.0
        for name in range(classes):
            own, rest = values[labels == name, unit], values[labels != name, unit]
            area = mannwhitneyu(own, rest).statistic / (len(own) * len(rest))
            best = max(best, abs(2 * area - 1))
        assert found[unit] == pytest.approx(best)


def test_bits_by_definition_and_unbiased():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 400)
    values = generator.normal(size=(400, 2))
    values[:, 1] += 2 * labels
    found = mutual_information(torch.from_numpy(values), labels)
    for unit in range(2):
        cuts = np.quantile(values[:, unit], [0.25, 0.5, 0.75])
        bins = np.searchsorted(cuts, values[:, unit])
        plain = mutual_info_score(labels, bins) / math.log(2)
        assert found[unit] == pytest.approx(plain - 3 * 2 / (2 * 400 * math.log(2)))
    free = [
        mutual_information(
            torch.from_numpy(generator.normal(size=(60, 1))), generator.integers(0, 3, 60)
        )
        for _ in range(300)
    ]
    assert abs(np.mean(free)) < 0.01
    constant = mutual_information(torch.zeros(60, 1), generator.integers(0, 3, 60))
    assert constant[0] == pytest.approx(0)


def test_dealt_labels_give_the_level_of_chance():
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], 30)
    values = torch.from_numpy(generator.normal(size=(90, 200)))
    alone = np.arange(90)
    null = np.quantile(null_separation(values, labels, alone, rounds=200, seed=0), 0.95, axis=0)
    assert 0.01 < (separation(values, labels) > null).mean() < 0.11


def test_the_level_of_chance_holds_where_examples_share_a_premise():
    """Activations that tell premises apart, each with one of each label."""
    generator = np.random.default_rng(4)
    labels, groups = np.tile([0, 1, 2], 40), np.repeat(np.arange(40), 3)
    premise = 3 * generator.normal(size=(40, 300))[groups]
    values = torch.from_numpy(premise + generator.normal(size=(120, 300)))
    inside = within_groups(values, groups)
    for group in (0, 7):
        part = values[groups == group]
        torch.testing.assert_close(inside[groups == group], part - part.mean(0))
    null = null_separation(inside, labels, groups, rounds=200, seed=0)
    assert 0.02 < (separation(inside, labels) > np.quantile(null, 0.95, axis=0)).mean() < 0.09
    telling = within_groups(values + 0.8 * torch.from_numpy(labels)[:, None], groups)
    assert (separation(telling, labels) > np.quantile(null, 0.95, axis=0)).mean() > 0.95
    assert within_groups(values, np.arange(120)) is values


def test_partial_rank_correlation():
    generator = np.random.default_rng(3)
    data = generator.normal(size=(50, 3))
    assert partial_rank_correlation(data[:, :2]) == pytest.approx(
        spearmanr(*data[:, :2].T).statistic
    )
    common = generator.normal(size=500)
    confounded = common[:, None] + 0.3 * generator.normal(size=(500, 3))
    confounded[:, 2] = common
    assert partial_rank_correlation(confounded[:, :2]) > 0.8
    assert abs(partial_rank_correlation(confounded)) < 0.15


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_activations_of_examples_one_at_a_time(pool):
    lm, task = tiny.lm("llama"), get_task("mini-nli", sizes={"test": 6})
    examples = task.examples("en", limit=4)
    found = example_activations(lm, task, examples, "mlp.act", pool)
    for place, example in enumerate(examples):
        ids = torch.tensor([lm.tokenizer(task.encode(example))["input_ids"]])[:, -128:]
        seen: dict[int, torch.Tensor] = {}

        def keep(layer, value, seen=seen):
            seen[layer] = value[0]

        with torch.no_grad(), hook_site(lm, "mlp.act", keep):
            lm.backbone(input_ids=ids)
        for layer in range(lm.layers):
            kept = seen[layer][-1] if pool == "last" else seen[layer].mean(0)
            if ids.shape[1] < 128:  # longer ones are shortened in their context
                torch.testing.assert_close(found[place, layer], kept, rtol=1e-4, atol=1e-5)


def test_the_loss_of_the_answer_agrees_with_the_evaluation():
    lm, task = (
        tiny.lm("llama", max_position_embeddings=512),
        get_task("mini-nli", sizes={"test": 9}),
    )
    examples = task.examples("en")
    losses = AnswerLoss(lm, task, "en", examples, find_head(lm))()
    right = losses < math.log(2)  # more than half of the three labels' likelihood
    rows = evaluate(lm, task, "en").rows
    correct = dict(zip(rows["id"], rows["correct"], strict=True))
    for example, sure in zip(examples, right, strict=True):
        if sure:
            assert correct[example.id] == 1
    assert (losses > 0).all()
    touched = AnswerLoss(lm, task, "en", examples, find_head(lm))(
        Intervention(Units([0, 1], [3, 4]), 5.0)
    )
    assert not np.allclose(touched, losses)


def test_units_and_controls_get_what_their_activations_say():
    lm = tiny.lm("llama")
    task = Classes()
    stats = collect(lm, TEXTS, block=16, rows=500)
    neurons = NeuronSet({"en": Units([0, 0, 1], [5, 9, 11])}, (2, 48), site="mlp.act", method="x")
    seen = task.examples("en", "train")
    found = polysemanticity(lm, neurons, "en", stats, task, seen, matched=2, seed=1)
    units = found.units
    assert len(units) == 9
    labels = labels_of(task, seen)
    values = example_activations(lm, task, seen)
    groups = np.repeat(np.arange(len(seen) // 3), 3)
    inside = within_groups(values[:, 0, 9:10], groups)
    row = units[(units["kind"] == "own") & (units["index"] == 9)].iloc[0]
    assert row["task_separation"] == pytest.approx(separation(inside, labels)[0])
    assert row["carries_task"] == (row["task_separation"] > row["task_null"])
    table = shares(units).set_index("carries")
    own = units[units["kind"] == "own"]
    assert table.loc["task", "own"] == own["carries_task"].mean()
    assert table.loc["both", "units"] == 3
    assert table.loc["both", "controls"] == 6
    assert table.loc["both", "low"] <= table.loc["both", "difference"] <= table.loc["both", "high"]
    assert not len(found.correlations)


def test_harm_is_that_of_each_unit_alone():
    lm = tiny.lm("llama", max_position_embeddings=512)
    task = get_task("mini-nli", sizes={"train": 40, "test": 8})
    stats = collect(lm, TEXTS, block=16, rows=500)
    neurons = NeuronSet({"en": Units([0, 0, 1], [5, 9, 11])}, (2, 48), site="mlp.act", method="x")
    tested = task.examples("en", limit=6)
    found = polysemanticity(
        lm, neurons, "en", stats, task, task.examples("en", "train", limit=30), tested,
        value=3.0, matched=1, harm_units=3,
    )  # fmt: skip
    losses = AnswerLoss(lm, task, "en", tested, find_head(lm))
    plain = losses()
    assert found.units["harm"].notna().all()
    for _, row in found.units.iterrows():
        unit = Units([row["layer"]], [row["index"]])
        direct = (losses(Intervention(unit, 3.0)) - plain).mean()
        assert row["harm"] == pytest.approx(direct, abs=1e-6)
    pooled = found.correlations[found.correlations["kind"] == "own and matched"]
    first = pooled[(pooled["harm_with"] == "task_separation") & (pooled["given"] == "")].iloc[0]
    expected = spearmanr(found.units["harm"], found.units["task_separation"]).statistic
    assert first["rho"] == pytest.approx(expected)
    assert first["low"] <= first["rho"] <= first["high"]
