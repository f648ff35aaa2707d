"""Stages that share their work leave what each leaves alone, and fail each for itself."""

import signal
from pathlib import Path

import pytest

from langneurons.statistics import collector
from langneurons.study import Study, kinds, records, runner, workshop
from study_world import WORDS, build
from test_statistics_resume import contents, in_child, killed_at_call

TWO_SITES = [
    "neurons={a: {method: lape, parameters: {top: 0.2}}, "
    "b: {method: lape, site: mlp.pre, parameters: {top: 0.2}}}",
    "perplexity=null",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("world"))


def study(world: Path, *more: str) -> Study:
    return Study.from_yaml(world / "study.yaml", [*TWO_SITES, *more])


def statistics(out: Path) -> dict[str, bytes]:
    return contents(out / "statistics")


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of the statistics with each stage done by itself."""
    made, out = study(world), tmp_path_factory.mktemp("alone")
    laid = made.plan(out=out)
    shop = workshop.Workshop(made.resolved, out, made.texts(), plan=laid)
    first = [stage for stage in laid.stages if stage.kind == "statistics"]
    assert len(first) == 2 * len(WORDS)
    for stage in first:
        assert runner.one(out, laid, stage, lambda s: kinds.run(shop, s), "").status == "done"
    return statistics(out)


def test_two_sites_pass_once_and_each_stage_has_its_own_record(
    world: Path, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    real = collector.run_backbone
    monkeypatch.setattr(
        collector, "run_backbone", lambda *given: (passes.append(len(given[1])), real(*given))
    )
    made = study(world)
    told: list[str] = []
    result = made.run(tmp_path, report=lambda outcome: told.append(outcome.name))
    assert result.failed == []
    assert statistics(tmp_path) == alone
    laid = made.plan(out=tmp_path)
    names = [stage.name for stage in laid.stages]
    assert told == [outcome.name for outcome in result.outcomes] == names
    assert all(records.why(tmp_path, laid, stage) is None for stage in laid.stages)
    both = sum(passes)
    passes.clear()
    study(world, "neurons={a: {method: lape, parameters: {top: 0.2}}}").run(tmp_path / "one")
    assert both == sum(passes)


def test_only_what_is_to_be_done_is_done(
    world: Path, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    study(world).run(tmp_path)
    (tmp_path / "statistics" / "mlp.pre" / "hi.safetensors").unlink()
    groups = []
    real = kinds.run_several
    monkeypatch.setattr(
        kinds, "run_several", lambda *given: (groups.append(given[1]), real(*given))
    )
    result = study(world).run(tmp_path)
    done = {outcome.name for outcome in result.outcomes if outcome.status == "done"}
    assert "statistics/mlp.pre/hi" in done
    assert not {"statistics/hi", "statistics/mlp.pre/en"} & done
    assert groups == []
    assert statistics(tmp_path) == alone


@pytest.mark.parametrize(("name", "number"), [("run_backbone", 2), ("run_backbone", 30)])
def test_killed_in_a_shared_pass_it_goes_on(
    world: Path, tmp_path: Path, alone: dict[str, bytes], name: str, number: int
) -> None:
    run = lambda: study(world).run(tmp_path)  # noqa: E731
    assert in_child(lambda: killed_at_call(collector, name, number, run)) == -signal.SIGKILL
    assert in_child(run) == 0
    assert statistics(tmp_path) == alone


def test_killed_between_two_records_the_second_is_taken_as_it_is(
    world: Path, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lambda: study(world).run(tmp_path)  # noqa: E731
    assert in_child(lambda: killed_at_call(records, "save", 2, run)) == -signal.SIGKILL
    seen: list[Path] = []
    real = collector.run_backbone
    monkeypatch.setattr(
        collector, "run_backbone", lambda *given: (seen.append(given[1]), real(*given))
    )
    result = run()
    assert result.failed == []
    assert statistics(tmp_path) == alone
    first = next(iter(WORDS))
    assert {o.name: o.status for o in result.outcomes}[f"statistics/mlp.pre/{first}"] == "done"


def test_a_site_that_the_model_lacks_costs_its_own_stages_alone(
    world: Path, tmp_path: Path, alone: dict[str, bytes]
) -> None:
    lacking = TWO_SITES[0].replace("mlp.pre", "moe.router")
    result = Study.from_yaml(world / "study.yaml", [lacking, TWO_SITES[1]]).run(tmp_path)
    status = {outcome.name: outcome.status for outcome in result.outcomes}
    for lang in WORDS:
        assert status[f"statistics/{lang}"] == "done"
        assert status[f"statistics/moe.router/{lang}"] == "failed"
        assert statistics(tmp_path)[f"{lang}.safetensors"] == alone[f"{lang}.safetensors"]
    assert status["neurons/a"] == "done"
    assert status["neurons/b"] == "skipped"
