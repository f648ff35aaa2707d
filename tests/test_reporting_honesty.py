"""The page says no less than its tables, and what went wrong before anything else."""

from __future__ import annotations

import itertools
import math
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons.parts.adapters import sentences as adapter_sentences
from langneurons.parts.interventions import answer
from langneurons.parts.paper.findings import findings, judged
from langneurons.parts.perplexity import sentences as perplexity_sentences
from langneurons.parts.planning.page import planned
from langneurons.parts.tasks.sentences import overwriting
from langneurons.reporting.troubles import troubles
from langneurons.study.report import read, report
from reporting_run import (
    LANGUAGES,
    finetuning_table,
    neurons_table,
    perplexity_table,
    scores_table,
    write_run,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _text(sentences) -> str:
    return " ".join(sentence.text for sentence in sentences)


def _set(table, difference, p=1e-9, **where):
    """Plant a change in the rows that ``where`` names."""
    rows = np.logical_and.reduce([table[key] == value for key, value in where.items()])
    assert rows.any()
    table.loc[rows, ["difference", "difference_low", "difference_high"]] = [
        difference, difference - 1, difference + 1]  # fmt: skip
    table.loc[rows, ["p_value", "p_holm"]] = p


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", [-10.75, 9.25])
def test_the_range_of_random_neurons_is_that_of_the_table_in_every_language(rng, language, size):
    table = scores_table(rng)
    cell = {"task": "mini-qa", "metric": "f1", "units": "random", "seed": 1}
    _set(table, size, language=language, intervention="P10", **cell)
    said = next(s for s in overwriting(table, ["en"]) if "Random neurons" in s.text).text
    shown = f"{size:+.1f}".replace("-", "−")
    home = ", trained on" if language == "en" else ""
    assert f"{shown} (mini-qa, {language}, P10{home})" in said
    assert f"1 of them significant: mini-qa: {language}" in said
    draws = table[(table["units"] == "random") & table["metric"].isin(["accuracy", "f1"])]
    assert f"({len(draws)} draws" in said


def test_the_training_language_has_a_sentence_of_its_own(rng):
    table = scores_table(rng, tasks=("mini-nli",))
    _set(table, -8.0, language="en", units="own", intervention="zero")
    said = overwriting(table, ["en"])
    (home,) = (s for s in said if s.text.startswith("In en, trained on"))
    assert "of 4 comparisons 0 gains and 1 loss (mini-nli: en)" in home.text
    assert "−8.0 [−9.0, −7.0] points (mini-nli, en, lape, zero)" in home.text
    assert home.tone == "finding"
    assert "0 gains and 0 losses" in said[0].text  # and is not counted among the transfer
    alone = overwriting(table[table["language"] == "en"], ["en"])
    assert [s.text for s in alone] == [home.text]


@pytest.mark.parametrize(("task", "language"), [("mini-qa", "zh"), ("mini-nli", "hi")])
def test_gains_of_one_language_are_called_that(rng, task, language):
    table = scores_table(rng)
    for value in ("zero", "mean", "P10"):
        _set(table, 6.0, task=task, language=language, intervention=value, units="own")
    text = answer.verdict(answer.see(table, None, ["en"])).text
    assert f"gains {language} 6.0 [5.0, 7.0] points on {task}, more than random" in text
    assert "(the largest of 3 gains in 48 comparisons)" in text
    text = _text(answer.more(answer.see(table, None, ["en"])))
    assert f"improved 3 of 48 comparisons ({task}: {language}), 3 of these beyond" in text
    assert f"3 gains ({task}: {language}) and 0 losses" in _text(overwriting(table, ["en"]))
    _set(table, -6.0, task="mini-qa", language="ur", intervention="P90", units="own")
    assert "and worsened 1 (mini-qa: ur)" in _text(answer.more(answer.see(table, None, ["en"])))
    assert "; P90 written over own neurons costs ur 6.0 [5.0, 7.0] points on mini-qa, more" in (
        answer.verdict(answer.see(table, None, ["en"])).text
    )


def test_only_some_gains_beyond_random_neurons_are_named_apart(rng):
    table = scores_table(rng)
    for language in ("zh", "hi"):
        cell = {"task": "mini-qa", "language": language, "intervention": "zero"}
        _set(table, 6.0, units="own", **cell)
    _set(table, 7.0, units="random", **cell)
    text = _text(answer.more(answer.see(table, None, ["en"])))
    assert "improved 2 of 48 comparisons (mini-qa: hi and zh), 1 of these (mini-qa: zh)" in text


def test_a_score_near_its_ceiling_is_no_place_for_gains(rng):
    table = scores_table(rng, level=99.0, tasks=("mini-nli",))
    said = overwriting(table, ["en"])
    (full,) = (s for s in said if "near 100 %" in s.text)
    assert full.tone == "caution"
    assert full.text.startswith("24 comparisons (mini-nli: es, fr, vi, hi, ur and zh)")
    assert "24 of them start too near 100 %" in _text(answer.more(answer.see(table, None, ["en"])))
    assert "near 100 %" not in _text(overwriting(scores_table(rng), ["en"]))


def test_nothing_changed_is_not_a_fine_measurement(rng):
    table = scores_table(rng, tasks=("mini-nli",))
    own = table["units"] == "own"
    columns = ["difference", "difference_low", "difference_high", "mde"]
    table.loc[own, columns] = 0.0
    table.loc[own, ["p_value", "p_holm"]] = 1.0
    said = overwriting(table, ["en"])
    assert "In 24 comparisons not a single answer changed" in _text(said)
    assert "smaller than about 0.0" not in _text(said)
    assert "finding" not in {s.tone for s in said if "single answer" in s.text}


@pytest.mark.parametrize("detectable", [0.0, math.nan])
def test_seeds_without_spread_are_a_limit(detectable):
    columns = ["of", "name", "lang", "size", "detectable", "needed"]
    rows = [("seeds", "mini-nli, accuracy, none", "all", 2, detectable, 2),
            ("examples", "mini-nli, accuracy", "hi", 100, 0.0, 0)]  # fmt: skip
    said = planned(pd.DataFrame(rows, columns=columns))
    assert [s.tone for s in said] == ["caution"]
    assert "the same with each of 2 seeds" in said[0].text


def test_adapters_without_spread_over_seeds_are_a_limit():
    cell = {"task": "xnli", "metric": "accuracy", "seeds": 3, "adapter": "target"}
    cell |= {"reference": "random", "difference": 6.0, "low": 6.0, "high": 6.0, "p_holm": 0.0}
    table = pd.DataFrame([{**cell, "language": "hi", "std": 0.0, "detectable": 0.0}])
    (said,) = adapter_sentences.over_seeds(table)
    assert said.tone == "caution"
    assert "(xnli: hi) the difference was the same with each of 3 seeds" in said.text


def test_a_majority_within_the_noise_is_no_finding(rng):
    table = perplexity_table(rng, effect=0.0)
    rows = (table["kind"] == "own") & (table["row"] == table["column"])
    table.loc[rows, ["ratio", "low", "high"]] = [1.012, 0.99, 1.03]  # largest everywhere
    (first, second, *_) = perplexity_sentences.perplexity(table)
    assert "in 0 of 7 languages" in first.text
    assert "more than any other's in 7 of 7" in second.text
    assert first.tone == second.tone == "none"


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_no_single_language_turns_a_verdict(held, data):
    """Whatever one language shows, the verdict never jumps between the two."""
    bar = data.draw(st.floats(0, 1))

    def judge(rows):
        return "reproduced" if rows["held"].mean() > bar else "not reproduced"

    def said(values):
        rows = pd.DataFrame({"language": [str(n) for n in range(len(values))], "held": values})
        return judged(rows, judge)[0]

    place = data.draw(st.integers(0, len(held) - 1))
    turned = [value != (n == place) for n, value in enumerate(held)]
    assert {said(held), said(turned)} != {"reproduced", "not reproduced"}
    without = [value for n, value in enumerate(held) if n != place]
    if without:
        assert {said(held), said(without)} != {"reproduced", "not reproduced"}


def _found(folder, scores, **tables) -> dict[str, tuple[str, str]]:
    run = read(write_run(folder, {"scores": scores, **tables}))
    return {finding.claim.split()[0]: (finding.verdict, finding.here) for finding in findings(run)}


def test_one_language_on_one_task_does_not_overthrow_the_paper(tmp_path, rng):
    table = scores_table(rng, tasks=("mini-qa",), languages=("es", "hi", "ur", "zh"))
    assert _found(tmp_path / "0", table)["Overwriting"][0] == "reproduced"
    for value in ("zero", "mean", "P10"):
        _set(table, 6.0, language="zh", intervention=value, units="own")
    verdict_, here = _found(tmp_path / "1", table)["Overwriting"]
    assert verdict_ == "open"
    assert "the verdict would be not reproduced, but not without zh" in here
    assert "3 beyond random neurons (mini-qa: zh)" in here
    _set(table, 6.0, language="hi", intervention="zero", units="own")
    assert _found(tmp_path / "2", table)["Overwriting"][0] == "not reproduced"
    one = scores_table(rng, tasks=("mini-qa",), languages=("zh",))
    verdict_, here = _found(tmp_path / "3", one)["Overwriting"]
    assert (verdict_, "one language alone decides nothing" in here) == ("open", True)


def test_one_language_does_not_decide_on_adapters_or_low_values(tmp_path, rng):
    languages = ("es", "hi", "ur", "zh")
    tuned = {"finetuning": finetuning_table(languages).query("task == 'mini-nli'")}
    table = scores_table(rng, tasks=("mini-nli",), languages=languages, n=20_000)
    assert _found(tmp_path / "0", table, **tuned)["Fine-tuning"][0] == "reproduced"
    gain = (table["adapter"] == "english") & (table["language"] == "hi")
    table.loc[gain, ["value", "low", "high"]] += 9
    verdict_, here = _found(tmp_path / "1", table, **tuned)["Fine-tuning"]
    assert (verdict_, "(mini-nli: hi)" in here) == ("open", True)
    _set(table, -20.0, intervention="P10", units="own", language="hi")
    verdict_, here = _found(tmp_path / "2", table, **tuned)["Writing"]
    assert (verdict_, "but not without hi" in here) == ("open", True)
    _set(table, -20.0, intervention="P10", units="own", language="ur")
    assert _found(tmp_path / "3", table, **tuned)["Writing"][0] == "reproduced"
    _set(table, -40.0, intervention="zero", units="own", language="hi")
    assert _found(tmp_path / "4", table, **tuned)["Writing"][0] == "open"


class _Order(HTMLParser):
    """The text of the page's main part in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inside, self.words = False, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = self.inside or tag == "main"

    def handle_data(self, data):
        if self.inside and data.strip():
            self.words.append(data.strip())


STAGES = [
    {"name": "statistics/hi", "status": "done", "seconds": 1.0, "reason": "never run"},
    {"name": "scores/mini-qa/none/hi/zero", "status": "failed", "seconds": 0.0,
     "reason": "out of <memory>"},
    {"name": "adapters/mini-qa/target", "status": "skipped", "seconds": 0.0,
     "reason": "needs scores"},
]  # fmt: skip


def test_a_failed_stage_is_the_first_thing_the_page_says(tmp_path, rng):
    tables = {"scores": scores_table(rng, languages=("hi",), tasks=("mini-nli",))}
    page = report(write_run(tmp_path / "failed", tables, stages=STAGES)).read_text("utf-8")
    words = _Order(page).words
    assert words[0] == "What went wrong in this run"
    first = " ".join(words[:8])
    assert "Stage scores/mini-qa/none/hi/zero failed: out of <memory>." in first
    assert "Not run for want of what failed: 1 stage (adapters/mini-qa/target)." in first
    assert "<memory>" not in page
    fine = report(write_run(tmp_path / "fine", tables)).read_text("utf-8")
    assert _Order(fine).words[0] == "mini"
    assert 'id="troubles"' not in fine


def test_warnings_of_a_run_stand_above_its_answer(tmp_path):
    made = {
        "kind": "scores",
        "what": "torch",
        "values": {"2.12": ["scores/a"], "2.13": ["scores/b"]},
    }
    earlier = {"neurons/lape": ["identification.methods.lape"], "overlap": []}
    folder = write_run(tmp_path, {}, earlier_code=earlier, made_differently=[made])
    words = _Order(report(folder).read_text("utf-8")).words
    assert words[0] == "Before you read on"
    said = " ".join(words[:7])
    assert "kept on purpose: 2 stages (neurons/lape and overlap); changed since: " in said
    assert "identification.methods.lape." in said
    assert "torch 2.12 (1 stage, such as scores/a) and 2.13 (1 stage, such as scores/b)." in said
    clean = write_run(tmp_path / "clean", {}, earlier_code={}, made_differently=[])
    assert troubles(read(clean)) == []


def test_many_failures_are_counted_and_old_tables_called_old(tmp_path):
    names = [f"scores/t/none/{n}" for n in itertools.islice(itertools.count(), 9)]
    stages = [{"name": name, "status": "failed", "reason": "bad"} for name in [*names, "tables"]]
    said = troubles(read(write_run(tmp_path, {}, stages=stages)))
    assert len(said) == 7
    assert "5 more stages failed: scores/t/none/5, " in said[5].text
    assert "older than this run" in said[6].text
    assert {s.tone for s in said} == {"failure"}


def test_scores_that_were_to_be_there_are_missed(tmp_path):
    run = read(write_run(tmp_path, {"neurons": neurons_table(np.random.default_rng(0))},
                             tasks=["mini-nli", "mini-qa"]))  # fmt: skip
    said = answer.answer(run).verdict
    assert answer.answer(run).picture is None
    assert said.tone == "failure"
    assert "was to measure mini-nli and mini-qa and holds no score" in said.text
