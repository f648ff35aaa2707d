"""Several processes that do the stages of a plan; their deaths, and that of who started them."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import study_world
from crew_toy import Toy
from langneurons import Study
from langneurons.stages.processes import Processes
from langneurons.stages.schedule import Job, Schedule
from langneurons.stages.stage import Plan, Stage
from langneurons.study import beside, expectation


def stage(name, *parents, summary=False):
    return Stage(name, name.split("/")[0], {}, {}, parents, f"{name}.json", summary=summary)


def run(folder, stages, size=2, retries=1, kept=(), **options):
    laid = Plan(tuple(stages))
    reasons = {item.name: None if item.name in kept else "new" for item in stages}
    told = []
    with Processes(size, functools.partial(Toy, folder)) as crew:
        outcomes = Schedule(crew, laid, reasons, told.append, retries=retries, **options).run()
    assert sorted(told, key=lambda o: o.name) == sorted(outcomes, key=lambda o: o.name)
    return {outcome.name: outcome.status for outcome in outcomes}


def test_every_stage_waits_for_its_parents_and_what_stands_is_kept(tmp_path):
    stages = [stage("a"), stage("b", "a"), stage("c", "a"), stage("d", "b", "c")]
    found = run(tmp_path, stages, kept=("c",))
    assert found == {"a": "done", "b": "done", "c": "kept", "d": "done"}
    times = {path.stem: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert times["a"] < times["b"] < times["d"]
    assert "c" not in times


def test_stages_that_are_alike_go_to_one_process_together(tmp_path):
    stages = [stage("s/1"), stage("t"), stage("s/2"), stage("s/3", "t")]
    for folder in ("s",):
        (tmp_path / folder).mkdir()
    found = run(tmp_path, stages, alike=lambda item: item.kind if item.kind == "s" else None)
    assert set(found.values()) == {"done"}
    jobs = {path.read_text() for path in tmp_path.rglob("*.*")}
    assert jobs == {"s/1,s/2", "t", "s/3"}


def test_a_process_that_dies_is_replaced_and_its_stage_tried_again(tmp_path):
    stages = [stage("once-1"), stage("a"), stage("b"), stage("once-2"), stage("c", "once-1")]
    assert set(run(tmp_path, stages, retries=4).values()) == {"done"}


def test_a_stage_that_kills_its_process_fails_and_what_needs_it_is_skipped(tmp_path):
    stages = [stage("die"), stage("a", "die"), stage("sum", "a", summary=True)]
    found = run(tmp_path, stages, size=1)
    assert found == {"die": "failed", "a": "skipped", "sum": "done"}
    assert len(list(tmp_path.glob("die.*"))) == 2


def test_what_a_process_is_doing_is_heard_where_it_was_started(tmp_path):
    crew = Processes(2, functools.partial(Toy, tmp_path))
    with contextlib.suppress(KeyboardInterrupt), crew:
        crew.start(Job(("say-1",), {"say-1": "new"}), apart=False)
        wait(crew.words)
        assert crew.words() == "say-1: counting 0/3 sheep"
        raise KeyboardInterrupt  # else it would be waited for


def test_the_rate_of_a_kind_is_that_of_all_processes_together():
    laid = Plan((stage("perplexity"),))
    record = {"stage": "perplexity", "seconds": 12.0}
    (alone,) = expectation._rates(laid, [record]).values()
    (shared,) = expectation._rates(laid, [{**record, "beside": 3}]).values()
    assert alone == pytest.approx(3 * shared) == pytest.approx(12.0)


SCRIPT = """
import functools, pathlib, sys
from crew_toy import Toy
from langneurons.stages.processes import Processes
from langneurons.stages.schedule import Job
if __name__ == "__main__":
    with Processes(2, functools.partial(Toy, pathlib.Path(sys.argv[1]))) as crew:
        tickets = [crew.start(Job((n,), {n: "new"}), apart=False) for n in ("sleep-1", "sleep-2")]
        while crew.wait(tickets, 60) is None:
            pass
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_who_started_it(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    main = subprocess.Popen(
        [sys.executable, script, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        stderr=subprocess.DEVNULL,
        # Ctrl-C is ignored where a shell starts the tests in the background.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )

    def workers():
        return [int(path.suffix[1:]) for path in tmp_path.glob("sleep-*")]

    wait(lambda: len(workers()) == 2)
    main.send_signal(how)
    assert main.wait(timeout=20) != 0
    wait(lambda: not any(psutil.pid_exists(pid) for pid in workers()))


def wait(for_what, seconds=60):
    end = time.monotonic() + seconds
    while not for_what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_processes_give_the_files_of_one(tmp_path, short_reports):
    world = study_world.build(tmp_path / "world")

    def made(name, *overrides):
        out = tmp_path / name
        result = Study.from_yaml(world / "study.yaml", list(overrides)).run(out)
        assert {outcome.status for outcome in result.outcomes} == {"done"}
        return study_world.contents(out)

    assert made("two", "threads=2", "workers=2") == made("one", "threads=1", "workers=1")


@pytest.mark.parametrize(
    ("threads", "work", "each", "free", "expected"),
    [
        (8, 1e14, 0.2e9, 64e9, (8, 1)),
        (8, 1e14, 1.2e9, 8e9, (2, 4)),  # memory for two
        (8, 1e14, 140e9, 8e9, (1, 8)),
        (8, 1e10, 0.2e9, 64e9, (1, 8)),  # it would take seconds
        (8, None, None, 64e9, (1, 8)),  # a model of unknown size
        (1, 1e14, 0.2e9, 64e9, (1, 1)),
    ],
)  # fmt: skip
def test_as_many_processes_as_threads_and_memory(
    tmp_path, monkeypatch, threads, work, each, free, expected
):
    world = study_world.build(tmp_path / "world")
    study = Study.from_yaml(world / "study.yaml", [f"threads={threads}", "device=cpu"])
    laid = study.plan()
    memory = type("Memory", (), {"available": free})
    monkeypatch.setattr(beside, "operations", lambda *a: work)
    monkeypatch.setattr(beside, "process_memory", lambda *a: each)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    reasons = dict.fromkeys(laid.keys, "new")
    assert beside.count(study.config, laid, reasons) == expected
    kept = dict.fromkeys(laid.keys) | {laid.stages[0].name: "new"}
    assert beside.count(study.config, laid, kept) == (1, threads)
