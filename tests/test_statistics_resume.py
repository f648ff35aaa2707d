"""Killed at any moment, a collection continues, and its files are those of an undisturbed run."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tiny
from langneurons.models import LanguageModel
from langneurons.statistics import Statistics, collect, collector, storage

TEXTS = {
    "en": [f"Nr {n}: " + "the cat and the dog " * (n % 5 + 1) for n in range(60)],
    "hi": [f"{n}: " + "एक बिल्ली और कुत्ता " * (n % 3 + 1) for n in range(20)],
}
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny.lm("llama")


def run(lm: LanguageModel, folder: Path, **options: object) -> Statistics:
    return collect(
        lm, TEXTS, block=24, rows=200, batch_size=3, output=folder, checkpoint_blocks=5, **options
    )


def in_child(work: Callable[[], object], seconds: float | None = None) -> int:
    """Exit code of ``work`` in a process of its own, killed after ``seconds``."""

    def body() -> None:
        torch.set_num_threads(1)  # a forked process has none of the parent's threads
        work()

    child = FORK.Process(target=body)
    child.start()
    child.join(seconds)
    if child.is_alive():
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    return child.exitcode


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def killed_at_call(module: object, name: str, number: int, work: Callable[[], object]) -> None:
    """Run ``work`` and kill the process just before the ``number``-th call of ``module.name``."""
    real = getattr(module, name)
    calls = 0

    def counted(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(module, name, counted)
    work()


@pytest.fixture(scope="module")
def undisturbed(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert in_child(lambda: run(lm, folder)) == 0
    found = contents(folder)
    assert set(found) >= {"en.safetensors", "hi.safetensors", "en.rows/000.safetensors"}
    assert not [name for name in found if "partial" in name]
    return found


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [
        (collector, "run_backbone", 1),
        (collector, "run_backbone", 12),
        (collector, "run_backbone", 40),
        (collector, "write_tensors", 1),
        (collector, "write_tensors", 3),
        (storage, "write_tensors", 2),
        (storage, "write_tensors", 3),
        (storage, "write_tensors", 4),
    ],
)
def test_killed_at_a_chosen_point(
    lm: LanguageModel,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    module: object,
    name: str,
    number: int,
) -> None:
    work = lambda: killed_at_call(module, name, number, lambda: run(lm, tmp_path))  # noqa: E731
    assert in_child(work) == -signal.SIGKILL
    assert in_child(lambda: run(lm, tmp_path)) == 0
    assert contents(tmp_path) == undisturbed


def test_a_continued_run_does_not_begin_anew(lm: LanguageModel, tmp_path: Path) -> None:
    kill = lambda: killed_at_call(collector, "run_backbone", 20, lambda: run(lm, tmp_path))  # noqa: E731
    assert in_child(kill) == -signal.SIGKILL
    _, state = collector.read_tensors(tmp_path / ".en.0.partial" / "state.safetensors")
    assert state["done"] >= 50
    # What was done is not run again: killing at the batch that would follow is killing at once.
    left = 20 - state["done"] // 3
    again = lambda: killed_at_call(  # noqa: E731
        collector, "run_backbone", left + 1, lambda: run(lm, tmp_path)
    )
    assert in_child(again) == -signal.SIGKILL
    _, later = collector.read_tensors(tmp_path / ".en.0.partial" / "state.safetensors")
    assert later["done"] >= state["done"]


def test_states_are_saved_after_so_many_blocks(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five blocks are reached with every second batch of three; the end needs no state."""
    saved: list[int] = []
    monkeypatch.setattr(
        collector.Collector, "save", lambda self, *_: saved.append(self.progress.done)
    )
    run(lm, tmp_path / "here")
    starts = [number for number, done in enumerate(saved) if done == 6]
    assert len(starts) == len(TEXTS)
    for start, stop in zip(starts, [*starts[1:], len(saved)], strict=True):
        assert saved[start:stop] == [6 * (n + 1) for n in range(stop - start)]
    assert len(saved) > 4


def test_a_state_of_other_options_is_not_used(
    lm: LanguageModel, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    kill = lambda: killed_at_call(  # noqa: E731
        collector, "run_backbone", 20, lambda: run(lm, tmp_path, seed=5)
    )
    assert in_child(kill) == -signal.SIGKILL
    assert in_child(lambda: run(lm, tmp_path)) == 0
    assert contents(tmp_path) == undisturbed


def test_a_damaged_state_is_not_used(
    lm: LanguageModel, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    kill = lambda: killed_at_call(collector, "run_backbone", 20, lambda: run(lm, tmp_path))  # noqa: E731
    assert in_child(kill) == -signal.SIGKILL
    state = tmp_path / ".en.0.partial" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    assert in_child(lambda: run(lm, tmp_path)) == 0
    assert contents(tmp_path) == undisturbed


@pytest.mark.slow
def test_killed_twenty_times_at_random(
    lm: LanguageModel, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    start = time.monotonic()
    assert in_child(lambda: run(lm, tmp_path / "timing")) == 0
    duration = time.monotonic() - start
    generator = random.Random(0)
    kills = rounds = 0
    while kills < 20:
        folder = tmp_path / str(rounds)
        rounds += 1
        assert rounds < 200, "the runs end before they are killed"
        for _ in range(4):
            code = in_child(lambda folder=folder: run(lm, folder), generator.uniform(0, duration))
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills += 1
        assert in_child(lambda folder=folder: run(lm, folder)) == 0
        left = {name: data for name, data in contents(folder).items() if ".part" not in name}
        assert left == undisturbed
