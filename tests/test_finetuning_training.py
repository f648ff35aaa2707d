"""Runs are repeatable, continue after a kill, and learn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from finetuning_world import Answers, Classes
from langneurons.errors import InputError
from langneurons.finetuning import finetune, load_adapter
from langneurons.finetuning.recipe import get_recipe
from langneurons.finetuning.training import Data, train
from langneurons.identification import Units

UNITS = Units([0, 0, 0, 1, 1, 1], [1, 2, 40, 0, 9, 47])
FAST = {"steps": 6, "batch_size": 8, "rank": 3, "learning_rate": 1e-2, "dtype": "fp32"}


def saved(folder):
    return load_file(Path(folder) / "adapter_model.safetensors")


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_task_is_learnt(tmp_path):
    lm = tiny.lm()
    options = {**FAST, "steps": 60, "learning_rate": 2e-2}
    adapter = finetune(lm, Classes(), "en", "all", output=tmp_path, **options)
    assert sum(adapter.losses[-5:]) / 5 < 0.5 < adapter.losses[0]


def test_the_seed_decides_everything(tmp_path):
    lm = tiny.lm()
    options = {**FAST, "dropout": 0.2}
    torch.manual_seed(1)
    a = finetune(lm, Classes(), "en", UNITS, output=tmp_path / "a", **options)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    b = finetune(lm, Classes(), "en", UNITS, output=tmp_path / "b", **options)
    assert torch.equal(state, torch.random.get_rng_state())
    assert a.losses == b.losses
    assert equal(saved(tmp_path / "a"), saved(tmp_path / "b"))
    c = finetune(lm, Classes(), "en", UNITS, output=tmp_path / "c", seed=1, **options)
    assert c.losses != a.losses


def test_runs_with_other_units_start_alike(tmp_path):
    """The first loss is before any step: the same head and attention start for every choice."""
    lm = tiny.lm()
    first = {
        finetune(lm, Classes(), "en", n, output=tmp_path / str(i), **FAST).losses[0]
        for i, n in enumerate(["none", "all", UNITS])
    }
    assert len(first) == 1


def test_accumulation_equals_a_larger_batch(tmp_path):
    lm = tiny.lm()
    options = {**FAST, "steps": 1, "epochs": 1, "limit": 24, "clip": 1e9}
    a = finetune(lm, Answers(), output=tmp_path / "a", **{**options, "batch_size": 24})
    b = finetune(
        lm, Answers(), output=tmp_path / "b", **{**options, "batch_size": 6, "accumulation": 4}
    )
    assert a.losses[0] == pytest.approx(b.losses[0], rel=1e-5)
    one, other = saved(tmp_path / "a"), saved(tmp_path / "b")
    for name in one:
        # AdamW's first step has the size of the learning rate whatever the gradient: equal signs.
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


def test_gradient_checkpointing_changes_nothing(tmp_path):
    lm = tiny.lm()
    options = {**FAST, "steps": 3}
    a = finetune(lm, Classes(), "en", UNITS, output=tmp_path / "a", **options)
    b = finetune(
        lm, Classes(), "en", UNITS, output=tmp_path / "b", gradient_checkpointing=True, **options
    )
    assert a.losses == pytest.approx(b.losses, rel=1e-5)


def test_bf16_is_close_to_fp32(tmp_path):
    lm = tiny.lm()
    a = finetune(lm, Classes(), "en", UNITS, output=tmp_path / "a", **FAST)
    b = finetune(lm, Classes(), "en", UNITS, output=tmp_path / "b", **{**FAST, "dtype": "bf16"})
    assert a.losses != b.losses
    assert a.losses == pytest.approx(b.losses, abs=0.1)
    assert all(t.dtype == torch.float32 for t in saved(tmp_path / "b").values())


def test_shots_are_nested_and_added(tmp_path):
    lm = tiny.lm()
    counts = {
        k: finetune(
            lm, Classes(), output=tmp_path / str(k), **{**FAST, "steps": 1}, shots={"hi": k}
        ).info["examples"]
        for k in (0, 8, 16, None)
    }
    assert counts == {0: 48, 8: 56, 16: 64, None: 96}
    from langneurons.finetuning.run import _examples

    few = _examples(Classes(), "en", get_recipe(None, shots={"hi": 8}))[48:]
    more = _examples(Classes(), "en", get_recipe(None, shots={"hi": 16}))[48:]
    assert more[:8] == few
    assert len(_examples(Classes(), "en", get_recipe(None, shots={"hi": 48}))) == 96
    with pytest.raises(InputError, match="has 48 examples of 'hi' in 'train', fewer than the 49"):
        _examples(Classes(), "en", get_recipe(None, shots={"hi": 49}))


def test_as_many_shots_as_asked_for_are_within_the_limit_of_length(tmp_path):
    """A point of a curve over k has k examples, and fewer are a part of more."""
    from langneurons.finetuning.run import _examples

    lm = tiny.lm()
    whole = Classes().examples("hi", "train")
    sizes = {item.id: len(lm.tokenizer(Classes().encode(item))["input_ids"]) for item in whole}
    bound = sorted(sizes.values())[30]
    task = Classes(max_tokens=bound)
    own = len(_examples(task, "en", get_recipe(None), lm.tokenizer))
    assert own < 48
    drawn = {
        k: _examples(task, "en", get_recipe(None, shots={"hi": k}), lm.tokenizer)[own:]
        for k in (8, 16)
    }
    assert all(len(drawn[k]) == k for k in drawn)
    assert drawn[16][:8] == drawn[8]
    assert max(sizes[item.id] for item in drawn[16]) <= bound
    options = {**FAST, "steps": 1, "shots": {"hi": 48}}
    with pytest.raises(InputError, match=r"examples of at most \d+ tokens of 'hi' in 'train'"):
        finetune(lm, task, output=tmp_path, **options)


def test_evaluation_curve_and_early_stopping(tmp_path):
    lm = tiny.lm()
    options = {**FAST, "steps": 40, "evaluate_every": 2, "patience": 2, "learning_rate": 0.3}
    adapter = finetune(lm, Classes(), "en", UNITS, output=tmp_path, **options)
    rows = adapter.info["evaluations"]
    assert [row["step"] for row in rows] == [2 * (i + 1) for i in range(len(rows))]
    best = min(rows, key=lambda row: row["loss"])
    assert adapter.info["best"] == best["step"]
    assert adapter.info["steps"] == min(40, best["step"] + 4)
    # The kept weights are those of the best look.
    task = Classes()
    model = load_adapter(lm, tmp_path).model
    total = 0.0
    for example in task.examples("en", "dev"):
        ids = torch.tensor([lm.tokenizer(task.encode(example))["input_ids"]])
        total -= float(model(input_ids=ids).logits.double().log_softmax(-1)[0, example.label])
    assert total / 48 == pytest.approx(best["loss"], rel=1e-4)


def test_the_last_step_is_looked_at_whatever_the_interval(tmp_path):
    options = {**FAST, "steps": 5, "evaluate_every": 2}
    adapter = finetune(tiny.lm(), Classes(), "en", UNITS, output=tmp_path, **options)
    assert [row["step"] for row in adapter.info["evaluations"]] == [2, 4, 5]


def test_the_loop_continues_exactly_where_it_stopped(tmp_path):
    """Half a run, then the rest by another optimiser from the checkpoint: the same weights."""
    torch.manual_seed(0)

    class HalfError(Exception):
        pass

    recipe = get_recipe(None, **{**FAST, "checkpoint_every": 3, "dropout": 0.1})
    items = finetune_items()

    def run(stop_at):
        model = tiny_classifier()
        if stop_at:
            count = 0

            def stop(*_):
                nonlocal count
                count += 1
                if count > stop_at:
                    raise HalfError

            model.register_forward_pre_hook(stop)
        log = train(
            model, Data(items, [], "classification", 0), recipe,
            checkpoint=tmp_path / f"{bool(stop_at)}.safetensors", key="k",
        )  # fmt: skip
        return {n: p.detach().clone() for n, p in model.named_parameters()}, log

    whole, log = run(None)
    with pytest.raises(HalfError):
        run(4)
    (tmp_path / "False.safetensors").unlink()
    (tmp_path / "True.safetensors").rename(tmp_path / "False.safetensors")
    again, other = run(None)
    assert log.losses == other.losses
    assert equal(whole, again)


def finetune_items():
    from langneurons.finetuning.examples import encode_items

    task = Classes()
    return encode_items(task, task.examples("en", "train"), tiny.tokenizer(), max_length=64, pad=0)


def tiny_classifier():
    from langneurons.finetuning.structure import classification_model

    model = classification_model(tiny.model(), ("a", "b", "c"), pad=0)
    return model.requires_grad_(True)


SCRIPT = """
import sys
import tiny, torch
from finetuning_world import Classes
from langneurons.finetuning import finetune
from langneurons.identification import Units
torch.set_num_threads(1)
units = Units([0, 0, 0, 1, 1, 1], [1, 2, 40, 0, 9, 47])
finetune(tiny.lm(), Classes(), "en", units, output=sys.argv[1], steps=int(sys.argv[2]),
         batch_size=8, rank=3, learning_rate=1e-2, dtype="fp32", checkpoint_every=1)
"""


@pytest.mark.slow
def test_a_killed_process_is_continued_by_the_same_command(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    steps = "400"

    def start(folder):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), steps], env=environment)

    killed = start(tmp_path / "a")
    checkpoint = tmp_path / "a" / "checkpoint.safetensors"
    deadline = time.monotonic() + 300
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert checkpoint.is_file()
    assert not (tmp_path / "a" / "langneurons.json").exists()
    assert start(tmp_path / "a").wait() == 0
    assert start(tmp_path / "b").wait() == 0
    assert equal(saved(tmp_path / "a"), saved(tmp_path / "b"))
    assert not checkpoint.exists()
