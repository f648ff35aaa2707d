"""Real pretrained models and real data against reference numbers measured independently."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from langneurons.data import make_blocks, read_texts
from langneurons.data.tasks import get_task
from langneurons.evaluation import evaluate, perplexity_change
from langneurons.identification import NeuronSet, Units
from langneurons.models import LanguageModel, load

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
REFERENCE = DATA / "gemma-reference"
GEMMA = ROOT / "real-models" / "gemma-3-270m-q4_k_m.gguf"
LANGUAGES = ("en", "es", "de", "ru", "vi", "hi", "zh", "ar")
# The whole table takes a quarter of an hour on two cores; these cells hold its extremes.
ROWS = tuple(os.environ.get("LANGNEURONS_REFERENCE_ROWS", "es vi").split())
COLUMNS = tuple(os.environ.get("LANGNEURONS_REFERENCE_COLUMNS", "es vi").split())

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no folder {REFERENCE}"),
    pytest.mark.skipif(not GEMMA.is_file(), reason="run `make real-models` first"),
]


@pytest.fixture(scope="module")
def gemma() -> LanguageModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LANGNEURONS_CACHE", raising=False)
        return load(GEMMA, device="cpu")


def test_the_perplexity_table_of_the_reference(gemma: LanguageModel) -> None:
    reference = json.loads((REFERENCE / "perplexity.json").read_text())
    lape = json.loads((REFERENCE / "lape.json").read_text())
    shape = (gemma.layers, gemma.sites["mlp.act"].width)
    units = {lang: Units([u[0] for u in lape[lang]], [u[1] for u in lape[lang]]) for lang in ROWS}
    neurons = NeuronSet(units, shape, model=gemma.fingerprint)
    blocks = {
        lang: make_blocks(
            read_texts(DATA / "xquad" / f"xquad.{lang}.json")[160:],
            gemma.tokenizer,
            block=128,
            bos=True,
            remainder="drop",
            tokens=2500,
        )
        for lang in COLUMNS
    }
    change = perplexity_change(gemma, neurons, blocks, 0.0)
    table = change.table
    print(f"\n{change.matrix().round(3)}")  # noqa: T201 - `pytest -s` shows what came out
    off = [c.perplexity / reference["zeroed"][c.row][c.column] - 1 for c in table.itertuples()]
    print(f"largest relative difference: {max(map(abs, off)):.2e}")  # noqa: T201
    for cell in table.itertuples():
        assert cell.baseline == pytest.approx(reference["perplexity"][cell.column], rel=0.01)
        wanted = reference["zeroed"][cell.row][cell.column]
        assert cell.perplexity == pytest.approx(wanted, rel=0.01), (cell.row, cell.column)


def test_zero_shot_inference_and_questions(gemma: LanguageModel) -> None:
    inference = evaluate(gemma, f"xnli:{DATA / 'xnli'}", "en", limit=60)
    low, high = inference.interval()
    assert inference.details["method"] == "likelihood"
    assert low <= inference.value() <= high
    assert 20 <= inference.value() <= 80
    answers = evaluate(gemma, f"xquad:{DATA / 'xquad'}", "en", limit=20, batch_size=10)
    assert answers.value("f1") > 15  # copying at random reaches about 3
    assert answers.value("exact_match") <= answers.value("f1")


@pytest.mark.parametrize("lang", ["en", "hi"])
def test_the_harness_agrees_item_by_item(gemma: LanguageModel, lang: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra [harness] is not installed")
    from harness_tasks import write_task

    task = get_task(f"xnli:{DATA / 'xnli'}")
    spec = write_task(tmp_path, "xnli_here", task, task.examples(lang, limit=30), lang)
    own = evaluate(gemma, task, lang, limit=30)
    theirs = evaluate(gemma, spec, lang)
    assert theirs.value() == own.value()
    for a, b in zip(theirs.rows["log_likelihoods"], own.rows["log_likelihoods"], strict=True):
        assert list(a) == pytest.approx(list(b), abs=2e-2)
