"""Shards of statistics, and the Ray executor on a cluster of two workers on this machine."""

import contextlib
import os
import threading
import time

import psutil
import pytest
import torch

import study_world
from langneurons import Statistics, Study
from langneurons.config.schema import RaySpec
from langneurons.errors import InputError
from langneurons.stages import cluster as clusters


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return study_world.build(tmp_path_factory.mktemp("world"))


def study(world, *overrides):
    # `auto` stays open on a cluster, whose machines may differ, so its keys are others.
    overrides = ["threads=1", "dtype=float32", *overrides]
    return Study.from_yaml(world / "study.yaml", overrides)


@pytest.fixture(scope="module")
def sharded(world):
    """The study with statistics in two parts, run in this process."""
    out = world / "sharded"
    assert study(world, "statistics.shards=2").run(out).failed == []
    return out


def test_parts_together_are_the_whole(world, sharded):
    assert study(world).run(world / "whole").failed == []
    whole = Statistics.load(world / "whole" / "statistics")
    merged = Statistics.load(sharded / "statistics")
    parts = [Statistics.load(sharded / "shards" / "hi" / part) for part in "01"]
    assert sum(part.tokens["hi"] for part in parts) == whole.tokens["hi"]
    assert all(part.tokens["hi"] > 0 for part in parts)
    for lang in study_world.WORDS:
        assert merged.tokens[lang] == whole.tokens[lang]
        assert torch.equal(merged.count_positive[lang], whole.count_positive[lang])
        assert torch.equal(merged.keys(lang), whole.keys(lang))
        # Other batches, other rounding of the float32 activations.
        for name in ("minimum", "maximum", "mean", "std"):
            found, expected = getattr(merged, name)(lang), getattr(whole, name)(lang)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_parts_of_the_paper_protocol_keep_its_batches(world):
    paper = ["protocol=paper", "statistics.tokens=3000", "perplexity=null"]
    study(world, *paper).run(world / "paper-whole")
    study(world, *paper, "statistics.shards=3").run(world / "paper-parts")
    whole, merged = (
        Statistics.load(world / name / "statistics") for name in ("paper-whole", "paper-parts")
    )
    assert whole.site == "mlp.pre"
    for lang in study_world.WORDS:
        torch.testing.assert_close(
            merged.quantile(lang, 0.9), whole.quantile(lang, 0.9), rtol=1e-9, atol=1e-12
        )


def test_more_parts_than_text_are_refused_by_name(world, tmp_path):
    result = study(world, "statistics.shards=500").run(tmp_path / "run")
    assert {outcome.name.split("/")[0] for outcome in result.failed} == {"shards"}
    assert "fewer than statistics.shards=500" in result.failed[0].reason


def test_a_cluster_holds_as_many_workers_as_there_is_room_for():
    cpu = {"CPU": 8.0}
    assert clusters.capacity(RaySpec(), cpu) == (8, 0.0)
    assert clusters.capacity(RaySpec(cpus=3), cpu) == (2, 0.0)
    assert clusters.capacity(RaySpec(cpus=2), {"CPU": 64.0, "GPU": 4.0}) == (4, 1.0)
    assert clusters.capacity(RaySpec(gpus=0.5), {"CPU": 64.0, "GPU": 2.0}) == (4, 0.5)
    assert clusters.capacity(RaySpec(workers=1), cpu) == (1, 0.0)
    with pytest.raises(InputError, match="room for 2 workers"):
        clusters.capacity(RaySpec(workers=3, cpus=4), cpu)
    with pytest.raises(InputError, match="room for 0 workers"):
        clusters.capacity(RaySpec(gpus=1), cpu)


def test_ray_missing_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"langneurons\[ray\]"):
        clusters.connect(RaySpec())


RAY = ("executor=ray", "ray.workers=2", "statistics.shards=2")


@pytest.fixture
def cluster():
    """Two cores for Ray whatever the machine has; the study finds the connection there."""
    ray = pytest.importorskip("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.slow
def test_two_workers_give_the_files_of_a_local_run(world, sharded, cluster, tmp_path):
    result = study(world, *RAY).run(tmp_path / "ray")
    assert result.failed == []
    assert {outcome.status for outcome in result.outcomes} == {"done"}
    assert study_world.contents(tmp_path / "ray") == study_world.contents(sharded)
    again = study(world, "statistics.shards=2").run(tmp_path / "ray")
    assert {outcome.status for outcome in again.outcomes} == {"kept"}


def kill_busy() -> int:
    """Kill the workers of this test's cluster that are doing a stage; how many there were."""
    found = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "Worker.run" in " ".join(process.cmdline()):
                process.kill()
                found += 1
    return found


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_is_replaced(world, sharded, cluster, tmp_path):
    killed = []

    def kill():
        while not killed:
            killed.extend([True] * kill_busy())
            time.sleep(0.01)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    result = study(world, *RAY).run(tmp_path / "ray")
    thread.join(timeout=5)
    assert killed
    assert result.failed == []
    assert study_world.contents(tmp_path / "ray") == study_world.contents(sharded)


@pytest.mark.slow
def test_a_stage_that_kills_every_worker_fails_alone(world, cluster, tmp_path):
    def kill():
        while not stop.wait(0.01):
            kill_busy()

    stop = threading.Event()
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        result = study(world, *RAY, "ray.retries=1").run(tmp_path / "ray")
    finally:
        stop.set()
        thread.join(timeout=5)
    reasons = [outcome.reason for outcome in result.failed if outcome.name != "tables"]
    assert reasons
    assert all("its worker died 2 times" in reason for reason in reasons)
