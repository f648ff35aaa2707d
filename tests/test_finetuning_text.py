"""Continued pretraining, reports to trackers, attention units, and several processes."""

from __future__ import annotations

import pytest
from accelerate.tracking import GeneralTracker, register_tracker_class

import tiny
from finetuning_world import Classes
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.finetuning import continue_pretraining, finetune, load_adapter
from langneurons.finetuning.examples import block_items
from langneurons.identification import Units

UNITS = Units([0, 0, 0, 1, 1, 1], [1, 2, 17, 0, 9, 20])
FAST = {"steps": 4, "batch_size": 4, "rank": 3, "learning_rate": 1e-2, "dtype": "fp32"}
TEXTS = ["the cat and the dog " * 6, "dog dog cat", "and the cat and the cat " * 4]


def text_loss(model, blocks):
    """Mean loss of the predicted tokens, one block at a time, float64."""
    total, count = 0.0, 0
    for ids, mask in zip(blocks.input_ids, blocks.attention_mask, strict=True):
        row = ids[mask]
        logits = model(input_ids=row[None]).logits[0].double().log_softmax(-1)
        total -= float(logits[:-1].gather(-1, row[1:, None]).sum())
        count += len(row) - 1
    return total / count


def test_text_is_learnt_and_the_first_loss_is_the_model_s_own(tmp_path):
    lm = tiny.lm()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=24)
    options = {**FAST, "batch_size": len(block_items(blocks)), "steps": 30}
    adapter = continue_pretraining(lm, TEXTS, "en", UNITS, output=tmp_path, block=24, **options)
    assert adapter.losses[0] == pytest.approx(text_loss(lm.model, blocks), rel=1e-5)
    adapted = load_adapter(lm, tmp_path)
    assert text_loss(adapted.model, blocks) < 0.8 * adapter.losses[0]
    assert adapter.info["kind"] == "text"


def test_uncounted_beginnings_are_not_learnt():
    blocks = make_blocks(["the cat and the dog"], tiny.tokenizer(), block=64, bos=True)
    (item,) = block_items(blocks)
    assert item.ids[0] == 1
    assert item.label == 1


def test_text_has_no_development_split(tmp_path):
    with pytest.raises(InputError, match="no development split"):
        continue_pretraining(
            tiny.lm(), TEXTS, "en", UNITS, output=tmp_path, evaluate_every=1, **FAST
        )


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("site", ["attn.q", "attn.v", "attn.out"])
def test_attention_units(family, site, tmp_path):
    """Rows of a projection, or columns of the output projection; nothing else is written."""
    lm = tiny.lm(family)
    units = Units([0, 1, 1], [3, 0, 7])
    options = {**FAST, "attention": False}
    finetune(lm, Classes(), "en", units, output=tmp_path, site=site, **options)
    adapted = load_adapter(lm, tmp_path)
    for layer in range(2):
        chosen = units.indices[units.layers == layer]
        module = adapted.sites[site].modules[layer]
        delta = module.get_delta_weight("default")
        delta = delta.T if family == "gpt2" else delta
        changed = delta.abs().sum(0 if site == "attn.out" else 1).nonzero().flatten()
        columns = lm.sites[site].columns
        expected = chosen if columns is None else columns[chosen]
        assert changed.tolist() == sorted(expected.tolist())


LINES: list[tuple[str, int | None]] = []


class Lines(GeneralTracker):
    """Keeps what it is told."""

    name = "lines"
    requires_logging_directory = False

    def __init__(self, run_name: str, **_: object) -> None:
        super().__init__()
        LINES.append((run_name, None))

    @property
    def tracker(self) -> list[tuple[str, int | None]]:
        return LINES

    def store_init_configuration(self, values: dict[str, object]) -> None:
        LINES.append((f"rank {values['rank']}", None))

    def log(self, values: dict[str, float], step: int | None = None, **_: object) -> None:
        LINES.extend((name, step) for name in values)


def test_trackers_are_told_of_every_step(tmp_path):
    LINES.clear()
    register_tracker_class(Lines)
    options = {**FAST, "steps": 2, "evaluate_every": 2}
    finetune(tiny.lm(), Classes(), "en", UNITS, output=tmp_path, report_to="lines", **options)
    assert LINES == [
        ("langneurons", None),
        ("rank 3", None),
        ("loss", 1),
        ("loss", 2),
        ("evaluation/loss", 2),
        ("evaluation/accuracy", 2),
    ]


def test_unknown_trackers_are_refused(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'tensorboard'"):
        finetune(tiny.lm(), Classes(), output=tmp_path, report_to="tensorbord", **FAST)


def test_tensorboard_reads_the_curve(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    adapter = finetune(
        tiny.lm(), Classes(), "en", UNITS, output=tmp_path, report_to="tensorboard", **FAST
    )
    events = EventAccumulator(str(tmp_path / "logs" / "langneurons")).Reload()
    read = [event.value for event in events.Scalars("loss")]
    assert read == pytest.approx(adapter.losses, rel=1e-6)
