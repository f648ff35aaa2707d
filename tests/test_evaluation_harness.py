"""Tasks of lm-evaluation-harness on local files: its numbers, its items, under an intervention."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from harness_tasks import CHOICES, write_task
from langneurons.errors import InputError
from langneurons.evaluation import compare, evaluate
from langneurons.identification import Units
from langneurons.intervention import Intervention
from test_evaluation_runs import Pairs, classifier

lm_eval = pytest.importorskip("lm_eval", reason="the extra [harness] is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("harness")
    task = Pairs()
    known = [example for example in task.examples("en") if example.label >= 0]
    write_task(root, "local_pairs", task, known, "en")
    return root


def test_both_ways_agree_item_by_item(folder: Path) -> None:
    lm = tiny.lm("llama")
    found = evaluate(lm, f"harness:{folder}:local_pairs")
    own = evaluate(lm, Pairs())
    known = own.rows[own.rows["correct"].notna()]
    assert found.metrics == ("acc",)
    assert len(found.rows) == len(known) == 17
    for theirs, ours in zip(found.rows["log_likelihoods"], known["log_likelihoods"], strict=True):
        assert theirs == pytest.approx(ours, abs=1e-3)
    assert found.value() == pytest.approx(own.value())
    harness = found.details["harness"]["local_pairs"]["acc,none"]
    assert found.value() == pytest.approx(100 * harness)


def test_an_intervention_reaches_the_harness(folder: Path) -> None:
    lm = tiny.lm("llama")
    touch = Intervention(Units([0] * 30 + [1] * 30, [*range(30), *range(30)]), 0.0)
    spec = f"harness:{folder}:local_pairs"
    plain = evaluate(lm, spec)
    touched = evaluate(lm, spec, intervention=touch)
    own = evaluate(lm, Pairs(), intervention=touch)
    known = own.rows[own.rows["correct"].notna()]
    for theirs, ours in zip(touched.rows["log_likelihoods"], known["log_likelihoods"], strict=True):
        assert theirs == pytest.approx(ours, abs=1e-3)
    change = compare(touched, plain)
    assert change.n == 17
    assert change.test == "mcnemar"
    again = evaluate(lm, spec)
    assert again.rows["log_likelihoods"].tolist() == plain.rows["log_likelihoods"].tolist()


def test_what_cannot_run_is_said(folder: Path, tmp_path: Path) -> None:
    lm = tiny.lm("llama")
    with pytest.raises(InputError, match="no task 'nothing'"):
        evaluate(lm, f"harness:{folder}:nothing")
    with pytest.raises(InputError, match="no folder"):
        evaluate(lm, "harness:/nowhere:pairs")
    with pytest.raises(InputError, match="brings its own split"):
        evaluate(lm, f"harness:{folder}:local_pairs", split="dev")
    with pytest.raises(InputError, match="classification head"):
        evaluate(classifier(), f"harness:{folder}:local_pairs")
    (tmp_path / "gone.yaml").write_text(CHOICES.format(name="gone", data=tmp_path / "gone.jsonl"))
    with pytest.raises(InputError, match="data cannot be read"):
        evaluate(lm, f"harness:{tmp_path}:gone")
