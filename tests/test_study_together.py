"""Stages that share their work leave what each leaves alone, and fail each for itself."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langneurons.errors import InputError
from langneurons.interface.workshop import Workshop
from langneurons.stages import records
from langneurons.stages.runner import Outcome, Together, execute, one
from langneurons.stages.stage import Plan, Stage
from langneurons.statistics import collector
from langneurons.study import Study, kinds
from study_world import WORDS, build
from test_statistics_resume import contents, in_child, killed_at_call

SITES = "neurons={{a: {{method: lape}}, b: {{method: lape, site: {other}}}}}"


class World:
    """The statistics of a study at two sites."""

    def __init__(self, folder: Path) -> None:
        self.folder = build(folder)

    def study(self, other: str = "mlp.pre") -> Study:
        overrides = [SITES.format(other=other), "perplexity=null"]
        return Study.from_yaml(self.folder / "study.yaml", overrides)

    def begin(self, out: Path, other: str = "mlp.pre") -> tuple[Plan, Workshop]:
        made = self.study(other)
        laid = made.plan(out=out)
        stages = tuple(stage for stage in laid.stages if stage.kind == "statistics")
        return replace(laid, stages=stages), Workshop(made.resolved, out, made.texts(), plan=laid)

    def run(
        self, out: Path, other: str = "mlp.pre", report: Callable[[Outcome], Any] = print
    ) -> dict[str, str]:
        """As a study runs its stages; their status by name."""
        laid, shop = self.begin(out, other)
        together = Together(kinds.alike, lambda stages: kinds.run_several(shop, stages))
        found = execute(out, laid, lambda stage: kinds.run(shop, stage), report, together=together)
        return {outcome.name: outcome.status for outcome in found}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def statistics(out: Path) -> dict[str, bytes]:
    return contents(out / "statistics")


@pytest.fixture(scope="module")
def alone(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of the statistics with each stage done by itself."""
    out = tmp_path_factory.mktemp("alone")
    laid, shop = world.begin(out)
    assert len(laid.stages) == 2 * len(WORDS)
    for stage in laid.stages:
        assert one(out, laid, stage, lambda s: kinds.run(shop, s), "").status == "done"
    return statistics(out)


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks of each forward pass from now on."""
    found: list[int] = []
    real = collector.run_backbone

    def counted(lm: Any, ids: Any, mask: Any) -> None:
        found.append(len(ids))
        real(lm, ids, mask)

    monkeypatch.setattr(collector, "run_backbone", counted)
    return found


def test_two_sites_pass_once_and_each_stage_has_its_own_record(
    world: World, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, told = passes(monkeypatch), []
    start = time.perf_counter()
    status = world.run(tmp_path, report=lambda outcome: told.append(outcome.name))
    lasted = time.perf_counter() - start
    assert set(status.values()) == {"done"}
    assert statistics(tmp_path) == alone
    laid, shop = world.begin(tmp_path)
    assert told == list(status) == [stage.name for stage in laid.stages]
    assert all(records.why(tmp_path, laid, stage) is None for stage in laid.stages)
    shares = [(records.read(tmp_path, stage) or {})["seconds"] for stage in laid.stages]
    assert 0 < sum(shares) < lasted  # the time of a shared pass is shared too
    both = sum(seen)
    seen.clear()
    for stage in laid.stages[: len(WORDS)]:
        assert "site" not in stage.arguments
        one(tmp_path / "again", laid, stage, lambda s: _run_in(shop, s, tmp_path / "again"), "")
    assert both == sum(seen)


def _run_in(shop: Workshop, stage: Stage, out: Path) -> dict[str, str]:
    shop.out = out
    return kinds.run(shop, stage)


def test_only_what_is_to_be_done_is_done(
    world: World, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(tmp_path)
    (tmp_path / "statistics" / "mlp.pre" / "hi.safetensors").unlink()
    groups: list[Any] = []
    monkeypatch.setattr(kinds, "run_several", lambda shop, stages: groups.append(stages))
    status = world.run(tmp_path)
    assert [name for name, how in status.items() if how == "done"] == ["statistics/mlp.pre/hi"]
    assert groups == []
    assert statistics(tmp_path) == alone


@pytest.mark.parametrize("number", [2, 3])
def test_killed_in_a_shared_pass_it_goes_on(
    world: World, tmp_path: Path, alone: dict[str, bytes], number: int
) -> None:
    def kill() -> None:
        killed_at_call(collector, "run_backbone", number, lambda: world.run(tmp_path))

    assert in_child(kill) == -signal.SIGKILL
    assert set(world.run(tmp_path).values()) <= {"done", "kept"}
    assert statistics(tmp_path) == alone


def test_killed_between_two_records_the_second_is_taken_as_it_is(
    world: World, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = lambda: killed_at_call(records, "save", 2, lambda: world.run(tmp_path))  # noqa: E731
    assert in_child(kill) == -signal.SIGKILL
    first, *others = WORDS
    seen = passes(monkeypatch)
    status = world.run(tmp_path)
    assert status[f"statistics/{first}"] == "kept"
    assert status[f"statistics/mlp.pre/{first}"] == "done"
    assert statistics(tmp_path) == alone
    one_language = sum(seen) / len(others)
    seen.clear()
    world.run(tmp_path / "whole")
    assert sum(seen) == pytest.approx(one_language * len(WORDS), rel=0.5)


def test_a_site_that_the_model_lacks_costs_its_own_stages_alone(
    world: World, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    status = world.run(tmp_path, other="moe.router")
    for lang in WORDS:
        assert status[f"statistics/{lang}"] == "done"
        assert status[f"statistics/moe.router/{lang}"] == "failed"
        assert statistics(tmp_path)[f"{lang}.safetensors"] == alone[f"{lang}.safetensors"]


def test_what_failed_together_is_not_tried_together_again(tmp_path: Path) -> None:
    """One bad stage of five: a shared try, then each alone, and its failure told once."""
    names = ["a", "b", "bad", "c", "d"]
    stages = tuple(Stage(name, "k", {}, {}, (), f"{name}.txt") for name in names)
    keys = {name: name for name in names}
    laid = Plan(stages, keys, keys, {name: {} for name in names})
    shared: list[list[str]] = []
    alone: list[str] = []
    told: list[Outcome] = []

    def do(stage: Stage) -> dict[str, str]:
        alone.append(stage.name)
        if stage.name == "bad":
            raise InputError("no such site")
        (tmp_path / stage.output).write_text("x", encoding="utf-8")
        return {}

    def do_all(some: Sequence[Stage]) -> dict[str, str]:
        shared.append([stage.name for stage in some])
        raise InputError("no such site")

    together = Together(lambda stage: stage.kind, do_all)
    found = execute(tmp_path, laid, do, told.append, together=together)
    assert shared == [names]
    assert alone == names
    assert [outcome.name for outcome in told] == names
    assert [(item.name, item.reason) for item in found if item.status == "failed"] == [
        ("bad", "no such site")
    ]
    assert {item.status for item in found if item.name != "bad"} == {"done"}


def test_a_study_shares_passes_of_its_own_accord(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, groups = world.study(), []

    def stop(_shop: Workshop, stages: list[Stage]) -> None:
        groups.append([stage.name for stage in stages])
        raise KeyboardInterrupt

    monkeypatch.setattr(kinds, "run_several", stop)
    with pytest.raises(KeyboardInterrupt):
        made.run(tmp_path)
    first = next(iter(WORDS))
    assert groups == [[f"statistics/{first}", f"statistics/mlp.pre/{first}"]]
