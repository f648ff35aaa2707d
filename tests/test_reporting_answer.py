"""The sentences on planted tables: they say what was planted, and no more."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from langneurons.parts.adapters import sentences as adapter_sentences
from langneurons.parts.adapters import shown as adapters_shown
from langneurons.parts.adapters.comparisons import adapters
from langneurons.parts.interventions import answer
from langneurons.parts.neurons import sentences as neuron_sentences
from langneurons.parts.neurons.sentences import pooled
from langneurons.parts.perplexity import answer as perplexity_answer
from langneurons.parts.perplexity import sentences as perplexity_sentences
from langneurons.parts.perplexity.rows import perplexity_rows
from langneurons.parts.tasks.comparisons import interventions, over_seeds
from langneurons.parts.tasks.sentences import chance, overwriting, rules
from langneurons.reporting.figures import canvas
from langneurons.reporting.inputs import Run
from reporting_run import (
    LANGUAGES,
    neurons_table,
    overlap_table,
    perplexity_table,
    rules_table,
    scores_table,
    tips,
)

TARGETS = [name for name in LANGUAGES if name != "en"]


def _text(sentences) -> str:
    return " ".join(sentence.text for sentence in sentences)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_clear_gain_beyond_random_is_said(rng):
    table = scores_table(rng, gain=5.0)
    verdict = answer.verdict(answer.see(table, None, ["en"]))
    assert verdict.tone == "finding"
    assert re.fullmatch(
        r"In part: \w+ written over own neurons gains \w\w 5\.\d \[.*\] points on "
        r"mini-\w+, more than random neurons do \(the largest of 48 gains in 48 comparisons\)\.",
        verdict.text,
    )
    where = "(mini-nli: es, fr, vi, hi, ur and zh; mini-qa: es, fr, vi, hi, ur and zh)"
    behind = _text(answer.more(answer.see(table, None, ["en"])))
    assert f"improved 48 of 48 comparisons {where}, 48 of these beyond random" in behind
    said = _text(overwriting(table, ["en"]))
    assert f"48 gains {where} and 0 losses" in said
    assert "beyond every draw for the same comparison lie 48 of 48 gains" in said


def test_gain_that_random_neurons_give_too_is_not_credited(rng):
    table = scores_table(rng, gain=5.0, control_gain=8.0)
    verdict = answer.verdict(answer.see(table, None, ["en"]))
    assert verdict.tone == "none"
    assert verdict.text.startswith("Not shown to be the neurons' doing: ")
    assert verdict.text.endswith(", but random neurons do as much.")
    assert "0 of these beyond random neurons" in _text(answer.more(answer.see(table, None, ["en"])))


def test_no_effect_stands_beside_what_could_have_been_found(rng):
    table = scores_table(rng)
    verdict = answer.verdict(answer.see(table, None, ["en"]))
    assert verdict.tone == "none"
    assert verdict.text == "No gain shown in any language."
    assert "no proof that there is none" in _text(answer.more(answer.see(table, None, ["en"])))
    said = overwriting(table, ["en"])
    assert "0 gains and 0 losses" in said[0].text
    assert any("one smaller than about 1.7 points" in s.text for s in said)


def test_loss_is_said(rng):
    table = scores_table(rng, gain=-12.0)
    assert "0 gains and 48 losses (mini-nli: es, fr" in _text(overwriting(table, ["en"]))
    text = answer.verdict(answer.see(table, None, ["en"])).text
    assert re.fullmatch(
        r"No gain shown in any language; \w+ written over own neurons costs \w\w 12\.\d \[.*\] "
        r"points on mini-\w+, more than random neurons do \(the largest of 48 losses\)\.",
        text,
    )


def test_scores_at_chance_are_not_read(rng):
    table = scores_table(rng, level=33.0, gain=5.0, tasks=("mini-nli",), languages=TARGETS)
    assert "every score it would have to be read from is at chance" in (
        answer.verdict(answer.see(table, None, ["en"])).text
    )
    assert "in every language the score is at chance" in _text(chance(table))
    said = overwriting(table, ["en"])
    assert len(said) == 1
    assert said[0].tone == "caution"


def test_one_language_at_chance_is_named_and_left_out(rng):
    table = scores_table(rng, gain=5.0, tasks=("mini-nli",))
    low = (table["language"] == "ur") & (table["intervention"] == "none")
    table.loc[low, ["value", "low", "high"]] = [34.0, 31.0, 37.0]
    assert "at chance (interval not above 33.3 %) in ur" in _text(chance(table))
    assert "20 gains (mini-nli: es, fr, vi, hi and zh)" in _text(overwriting(table, ["en"]))


def test_training_language_is_no_transfer(rng):
    table = scores_table(rng, gain=5.0, languages=("en",))
    assert interventions(table, ["en"]).empty
    assert "cannot answer the question" in answer.verdict(answer.see(table, None, ["en"])).text


def test_without_tasks_the_question_is_what_perplexity_can_answer(rng):
    tables = {"perplexity": perplexity_table(rng)}
    run = Run(Path("run"), {"name": "x"}, tables=tables)
    assert answer.answer(run) is None
    found = perplexity_answer.answer(run)
    assert found.question.startswith("Does a language need its own neurons")
    assert re.fullmatch(
        r"Yes, for every language: zero written over them raises perplexity most on \w\w \(×1\.\d+ "
        r"\[.*\]\)\.",
        found.verdict.text,
    )
    assert "measured no task" in _text(found.more)
    flat = perplexity_answer.answer(
        Run(Path("run"), {"name": "x"}, tables={"perplexity": perplexity_table(rng, effect=0.0)})
    )
    assert flat.verdict.tone == "none"
    assert flat.verdict.text.startswith("Not shown for any of 7 languages")
    assert "no rise is shown" in flat.more[0].text
    assert perplexity_answer.answer(Run(Path("run"), {"name": "x"})) is None


def test_without_controls_nothing_is_credited(rng):
    table = scores_table(rng, gain=5.0)
    table = table[table["units"] != "random"]
    assert "no change can be credited" in _text(overwriting(table, ["en"]))
    assert not interventions(table, ["en"])["beyond_controls"].any()


def test_adapter_gain_against_random_units(rng):
    table = scores_table(rng, adapter_gain=15.0)
    said = _text(adapter_sentences.finetuned(table, None, ["en"]))
    assert "are significant, of 24 comparisons." in said
    assert "Masked LoRA against random units: 12 gains (mini-nli: es, fr, vi, hi" in said
    assert "and 0 losses are significant" in said
    assert answer.verdict(answer.see(table, None, ["en"])).tone == "finding"


def test_adapter_without_gain_says_what_it_could_have_shown(rng):
    said = adapter_sentences.finetuned(scores_table(rng), None, ["en"])
    assert said[0].text == (
        "Masked LoRA against leaving the MLP alone: 0 gains and 0 losses are significant, of 24 "
        "comparisons."
    )
    assert any("could have gone unseen" in s.text for s in said)
    assert any("wider than a paired" in s.text for s in said)


def test_paired_differences_take_precedence(rng):
    scores = scores_table(rng, tasks=("mini-nli",), languages=("hi",))
    paired = pd.DataFrame(
        {
            "task": ["mini-nli"],
            "language": ["hi"],
            "metric": ["accuracy"],
            "adapter": ["target:hi"],
            "reference": ["random"],
            "n": [1000],
            "difference": [1.25],
            "low": [0.5],
            "high": [2.0],
            "p_holm": [0.01],
            "mde": [1.0],
        }
    )
    table = adapters(scores, ("random",), paired).set_index("adapter")
    row = table.loc["target:hi"]
    assert (row["difference"], row["low"], row["high"]) == (1.25, 0.5, 2.0)
    assert bool(row["paired"])
    assert bool(row["significant"])
    assert not bool(table.loc["english", "paired"])


def test_unpaired_interval_is_newcombes_by_definition():
    row = {
        "task": "t",
        "language": "hi",
        "metric": "accuracy",
        "intervention": "none",
        "units": "-",
        "neurons": "-",
        "seed": 0,
        "n": 10,
        "chance": math.nan,
    }
    empty = dict.fromkeys(
        ["difference", "difference_low", "difference_high", "p_value", "p_holm", "mde"], math.nan
    )
    table = pd.DataFrame(
        [
            {**row, **empty, "adapter": "english", "value": 60.0, "low": 56.0, "high": 63.0},
            {**row, **empty, "adapter": "none", "value": 50.0, "low": 47.0, "high": 54.0},
        ]
    )
    out = adapters(table, ("none",)).iloc[0]
    assert out["difference"] == pytest.approx(10.0)
    assert out["low"] == pytest.approx(10 - math.sqrt(4.0**2 + 4.0**2))
    assert out["high"] == pytest.approx(10 + math.sqrt(3.0**2 + 3.0**2))


def test_several_seeds_have_to_agree(rng):
    table = scores_table(rng, gain=5.0, languages=("hi",), tasks=("mini-nli",), values=("zero",))
    own = table[(table["units"] == "own")]
    second = own.assign(seed=1, difference=0.0, difference_low=-1.2, p_value=1.0, p_holm=1.0)
    both = pd.concat([table, second])
    row = interventions(both).iloc[0]
    assert not bool(row["significant"])
    assert row["difference"] == pytest.approx(own["difference"].iloc[0] / 2)
    assert row["difference_low"] == pytest.approx(-1.2)
    assert over_seeds(both).query("units == 'own'")["seeds"].tolist() == [2]


def test_all_adapters_at_once_are_said_to_differ_or_not():
    rows = [{"task": "xnli", "language": lang, "metric": "accuracy", "attention": attention,
             "sets": 5, "seeds": 3, "f": 1.0, "p_value": p / 9, "p_holm": p, "std": std, "df": 8,
             "detectable": 9.4}
            for lang, attention, p, std in
            [("en", True, 0.001, 3.0), ("hi", True, 0.41, 3.0), ("hi", False, 0.004, 3.0),
             ("zh", True, float("nan"), 0.0)]]  # fmt: skip
    found = adapter_sentences.among_sets(pd.DataFrame(rows), ["en"])
    assert [sentence.tone for sentence in found] == ["none", "finding", "caution"]
    assert found[2].text.startswith("xnli: zh: every adapter of chosen units scored the same")
    assert found[0].text.startswith("xnli, hi: 5 adapters of chosen units with LoRA on attention")
    assert "p = 0.41" in found[0].text
    assert "9.4 points" in found[0].text
    assert "without LoRA on attention" in found[1].text
    assert adapter_sentences.among_sets(pd.DataFrame()) == []


def test_perplexity_effect_and_its_absence(rng):
    clear = perplexity_sentences.perplexity(perplexity_table(rng))
    assert clear[0].text == (
        "Set to zero, a language's lape neurons raise that language's perplexity most, and beyond "
        "every control, in 7 of 7 languages."
    )
    assert "10 draws of as many random neurons in 7 of 7" in clear[1].text
    assert {one.tone for one in clear} == {"finding"}
    assert len(clear) == 2
    none = perplexity_sentences.perplexity(perplexity_table(rng, effect=0.0))
    assert none[0].tone == "none"
    assert "no rise could be shown for any language" in none[2].text


def test_perplexity_rows_by_definition(rng):
    table = perplexity_table(rng, languages=("en", "hi", "zh"), draws=3)
    rows = perplexity_rows(table).set_index("language")
    hi = table[table["row"] == "hi"]
    own = hi[hi["kind"] == "own"].set_index("column")["ratio"]
    assert rows.loc["hi", "ratio"] == pytest.approx(own["hi"])
    assert rows.loc["hi", "other"] == pytest.approx(max(own["en"], own["zh"]))
    drawn = hi[(hi["kind"] == "random") & (hi["column"] == "hi")]["ratio"]
    assert rows.loc["hi", "random"] == pytest.approx(drawn.max())


def test_overlap_beside_chance(rng):
    neurons = neurons_table(rng, sets=("lape", "lape@set"))
    said = neuron_sentences.overlaps(overlap_table(neurons, rng))
    assert "It exceeds chance (5 %, Bonferroni) for 7 of 7 languages" in said[0].text
    assert "For no language does the overlap exceed chance" in said[1].text
    assert said[1].tone == "none"


def test_many_sets_are_put_together(rng):
    names = ("lape", "lape@set", "dln", "auroc")  # and activation_probability: ten pairs
    table = overlap_table(neurons_table(rng, sets=names), rng)
    (said,) = neuron_sentences.overlaps(table)
    assert said.text.startswith("10 pairs of neuron sets share a Jaccard index of")
    together = pooled(table)
    assert len(together) == 10
    one = together.iloc[0]
    rows = table[
        (table["a"] == one["language_a"])
        & (table["b"] == one["language_b"])
        & (table["language_a"] == table["language_b"])
    ]
    shared, sizes = rows["shared"].sum(), rows["size_a"].sum() + rows["size_b"].sum()
    assert one["jaccard"] == pytest.approx(shared / (sizes - shared))
    assert one["p_value"] == rows["p_value"].max()


def test_neurons_counted_and_missing_languages_named(rng):
    table = neurons_table(rng, sets=("lape",))
    table.loc[(table["language"] == "ur"), "units"] = 0
    said = _text(neuron_sentences.neurons(table))
    assert "between 0 (ur)" in said
    assert "found none for ur" in said


def test_rules_say_how_far_above_they_are(rng):
    above = rules(scores_table(rng), rules_table())
    assert "in 7 of 7 languages" in above[0].text
    below = rules(scores_table(rng), rules_table(level=99.0))
    assert "in 0 of 7 languages" in below[0].text
    assert below[0].tone == "caution"


def test_an_adapter_is_held_against_the_reference_it_is_paired_with(rng):
    scores = scores_table(rng, tasks=("mini-nli",), languages=("hi",))
    names = {"target:hi": "target-alone:hi", "none": "none-alone"}
    alone = scores[scores["adapter"].isin(names)].assign(adapter=lambda t: t["adapter"].map(names))
    both = pd.concat([scores, alone], ignore_index=True)
    pairs = [("target:hi", "none"), ("target-alone:hi", "none-alone")]
    row = {"task": "mini-nli", "language": "hi", "metric": "accuracy", "n": 10, "low": -1.0}
    row |= {"high": 3.0, "difference": 1.0, "p_holm": 0.2, "mde": 2.0}
    paired = pd.DataFrame([{**row, "adapter": one, "reference": other} for one, other in pairs])
    table = adapters(both, ("none", "none-alone"), paired).set_index("adapter")
    assert table["reference"].to_dict() | dict(pairs) == table["reference"].to_dict()
    assert table.index.is_unique
    assert not {"none", "none-alone"} & set(table.index)
    assert adapters(both, (), paired).empty


def test_adapters_over_seeds_are_counted_and_tabled():
    cell = {"task": "xnli", "metric": "accuracy", "seeds": 3, "std": 1.0, "detectable": 3.3}
    rows = [
        {**cell, "language": "hi", "adapter": "target", "reference": "random", "difference": 6.0,
         "low": 3.0, "high": 9.0, "p_holm": 0.01},
        {**cell, "language": "hi", "adapter": "english", "reference": "random", "difference": 0.5,
         "low": -3.0, "high": 4.0, "p_holm": 0.9},
        {**cell, "language": "en", "adapter": "english", "reference": "random", "difference": 9.0,
         "low": 8.0, "high": 10.0, "p_holm": 0.001},
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    said = adapter_sentences.over_seeds(table, ["en"])
    assert "Over 3 seeds: of 2 comparisons on languages not trained on 1 leaves" in said[0].text
    assert "between seeds (xnli: hi)" in said[0].text
    assert "3.3 points" in said[0].text
    assert said[0].tone == "finding"
    shown = adapters_shown.over_seeds(table, ["en"])
    assert shown.data["significant"].tolist() == [True, False]
    assert adapter_sentences.over_seeds(table, ["en", "hi"]) == []
    assert adapters_shown.over_seeds(table, ["en", "hi"]) is None


def _pictured(**tables):
    return answer.answer(Run(Path("run"), {"train_language": "en"}, tables=tables))


def test_the_figure_is_of_what_the_verdict_speaks_of(rng):
    """Every language's own change stands in it, with every draw, and the controls' names."""
    table = scores_table(rng, gain=5.0, tasks=("mini-nli",))
    made = _pictured(scores=table)
    value = made.verdict.text.split()[2]
    said = tips(made.picture.figure)
    own = table[(table["intervention"] == value) & (table["units"] == "own")]
    for row in own.to_dict("records"):
        change = f"{row['language']}, own neurons: +{row['difference']:.1f} ["
        assert any(tip.startswith(change) for tip in said)
    assert sum("3 draws, the farthest: " in tip for tip in said) == len(LANGUAGES)
    assert "beside as many random neurons (a mark a draw)" in made.picture.caption
    assert ">en (trained on)<" in canvas.svg(made.picture.figure, "f")


def test_where_only_adapters_gain_the_figure_is_theirs(rng):
    table = scores_table(rng, adapter_gain=15.0, tasks=("mini-nli",))
    made = _pictured(scores=table)
    assert made.verdict.text.startswith("In part: fine-tuning only them gains ")
    assert "difference in points to training no units" in made.picture.caption
    assert "(adapter target)" in made.picture.caption
    said = tips(made.picture.figure)
    score = table[table["intervention"] == "none"].set_index(["language", "adapter"])["value"]
    for language in LANGUAGES:
        change = score[language, f"target:{language}"] - score[language, "none"]
        assert any(tip.startswith(f"{language}, own neurons: +{change:.1f} [") for tip in said)
    assert sum("1 draw, the farthest: " in tip for tip in said) == len(LANGUAGES)


def test_where_nothing_can_be_read_no_figure_carries_it(rng):
    table = scores_table(rng, level=33.0, tasks=("mini-nli",), languages=TARGETS)
    made = _pictured(scores=table)
    assert (made.verdict.tone, made.picture) == ("caution", None)
