"""Runs that are killed, run out of disk, find damage or meet a bad cell."""

import json
import os
import random
import shutil
import time

import pytest
import yaml

import study_world
from langneurons import Study
from langneurons.artifacts import read_json
from langneurons.stages import records


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return study_world.build(tmp_path_factory.mktemp("world"))


def run(study, out, *overrides, file_limit=None, kill_after=None, figures=False):
    """Run a study in a process of its own; its exit code (-9 if it was killed) and its words."""
    process = study_world.apart().Process(
        target=study_world.run_apart,
        args=(str(study), str(out), list(overrides), file_limit, figures),
    )
    process.start()
    process.join(kill_after)
    if process.is_alive():
        process.kill()
        process.join()
    log = out.with_name(f"{out.name}.log")
    return process.exitcode, log.read_text(encoding="utf-8") if log.exists() else ""


@pytest.fixture(scope="module")
def finished(world):
    """A whole study with a task, undisturbed."""
    with study_world.short_reports():
        result = Study.from_yaml(world / "tasks.yaml", ["threads=1"]).run(world / "finished")
    assert result.failed == []
    return world / "finished"


def test_the_same_study_gives_the_same_bytes(world, finished, tmp_path):
    code, _ = run(world / "tasks.yaml", tmp_path / "again")
    assert code == 0
    first, second = (study_world.contents(out) for out in (finished, tmp_path / "again"))
    assert sum(name.startswith("scores/") for name in first) == 2 * 3 + 2 * 2 * 2
    # How long a training took is measured, not computed.
    times = "tables/finetuning.parquet"
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name] and name != times] == []


def kill_and_finish(study, folder, undisturbed, seconds, kills, seed):
    """Kill a study at random moments until ``kills`` are done; every run that ends must agree."""
    draw = random.Random(seed)
    done = ends = 0
    whole = comparable(undisturbed)
    while done < kills:
        out = folder / f"run{ends}"
        code = None
        while code != 0:
            wait = draw.uniform(0, seconds) if done < kills else None
            code, words = run(study, out, kill_after=wait, figures=True)
            assert code in (0, -9), words
            done += code == -9
        assert comparable(out) == whole
        assert not list(out.rglob("*.part"))
        ends += 1
    return ends


def comparable(out):
    found = study_world.contents(out)
    found.pop("tables/finetuning.parquet", None)
    return found


def test_killed_at_any_moment_a_study_goes_on(world, tmp_path):
    start = time.monotonic()
    assert run(world / "study.yaml", tmp_path / "timed", figures=True)[0] == 0
    seconds = time.monotonic() - start
    kill_and_finish(world / "study.yaml", tmp_path, tmp_path / "timed", seconds, kills=2, seed=1)


@pytest.mark.slow
def test_thirty_kills_of_the_built_in_study_leave_no_trace(tmp_path):
    study = {
        "include": "mini",
        "languages": ["en", "hi"],
        "statistics": {"tokens": 3000, "rows": 256},
        "perplexity": {"neurons": ["lape"], "tokens": 400, "random": 1, "matched": 1},
        "finetune": {"checkpoint_every": 1},
        "tasks": {
            "mini-nli": {"limit": 12, "examples": 256},
            "mini-qa": {"limit": 6, "examples": 128},
        },
        "adapters": {name: {"seeds": 1} for name in ("target:hi", "random")},
        "interventions": {"values": ["mean", "P10"], "random": 1},
        "neurons": {"lape-en-hi-ur": {"method": "lape", "languages": ["en", "hi"]}},
    }
    file = tmp_path / "mini.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    start = time.monotonic()
    code, words = run(file, tmp_path / "undisturbed", figures=True)
    assert code == 0, words
    seconds = time.monotonic() - start
    kill_and_finish(file, tmp_path, tmp_path / "undisturbed", seconds, kills=30, seed=2)


def test_a_full_disk_is_named_and_nothing_half_written_is_kept(world, finished, tmp_path):
    out = tmp_path / "run"
    code, words = run(world / "tasks.yaml", out, file_limit=8_000, figures=True)
    assert code == 1
    assert "Free disk space or choose another output folder" in words
    assert "failed: statistics/hi" in words
    for path in out.rglob("*"):
        assert path.stat().st_size <= 8_000
        assert not path.name.endswith(".part"), path
    code, words = run(world / "tasks.yaml", out)
    assert code == 0, words
    assert comparable(out) == comparable(finished)


def test_a_folder_that_cannot_be_written_is_refused(world, tmp_path):
    if os.geteuid() == 0:  # root writes everywhere but where the kernel itself refuses
        out = "/sys/langneurons"
    else:
        (tmp_path / "closed").mkdir(mode=0o500)
        out = str(tmp_path / "closed" / "run")
    from langneurons.errors import InputError

    with pytest.raises(InputError, match=r"cannot write to .* choose another folder with -o"):
        Study.from_yaml(world / "study.yaml").run(out)


def test_a_second_process_is_refused_and_the_first_is_not_disturbed(world, tmp_path):
    out = tmp_path / "run"
    first = study_world.apart().Process(
        target=study_world.run_apart,
        args=(str(world / "tasks.yaml"), str(out), [], None, False),
    )
    first.start()
    while not (out / "study.yaml").exists():
        time.sleep(0.01)
    second = tmp_path / "second"
    second.symlink_to(out)
    code, words = run(world / "tasks.yaml", second)
    assert code == 2
    assert "another run is working" in words
    first.join()
    assert first.exitcode == 0


def test_every_damaged_file_is_named_whatever_it_is(world, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    study = Study.from_yaml(world / "tasks.yaml", ["threads=1"])
    laid = study.plan()
    assert not any(records.why(out, laid, stage) for stage in laid.stages)
    for stage in laid.stages:
        for path in records.files(out, stage):
            whole = path.read_bytes()
            for part in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
                path.write_bytes(part)
                reason = records.why(out, laid, stage)
                assert reason == f"{path.relative_to(out)} is damaged (checksum differs)"
            path.write_bytes(whole)


def test_damage_all_over_is_mended_at_once(world, finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    hurt = ["statistics/hi.safetensors", "neurons/lape.json", "perplexity/lape/en.parquet",
            "adapters/xnli/hi/adapter_model.safetensors", "scores/xnli/none/en/none.parquet",
            "tables/scores.parquet", "study.yaml", "run.json", "environment.json",
            ".stages/statistics~en.json", ".stages/neurons~two.json"]  # fmt: skip
    for name in hurt:
        (out / name).write_bytes((out / name).read_bytes()[:40])
    (out / "statistics/es.rows/000.safetensors").unlink()
    code, words = run(world / "tasks.yaml", out)
    assert code == 0, words
    assert comparable(out) == comparable(finished)
    made = {s["name"] for s in read_json(out / "run.json")["stages"] if s["status"] == "done"}
    assert made == {
        *("statistics/en", "statistics/es", "statistics/hi", "neurons/lape", "neurons/two"),
        *("perplexity/lape/en", "finetune/xnli/hi", "scores/xnli/none/en/none", "tables"),
    }


def test_examples_that_cannot_be_read_are_refused_before_anything_runs(world, tmp_path):
    folder = tmp_path / "xnli"
    shutil.copytree(world / "xnli", folder)
    (folder / "test.hi.tsv").write_text("label\tpremise\thypothesis\nperhaps\ta\tb\n")
    code, words = run(world / "tasks.yaml", tmp_path / "run", f"tasks.xnli.source=xnli:{folder}")
    assert code == 2
    assert "label 'perhaps' is none of" in words
    assert not (tmp_path / "run" / "statistics").exists()


def test_a_bad_cell_is_listed_at_the_end_and_the_others_stand(world, tmp_path):
    # A file where the cells of Hindi would be written: nobody can know before.
    (tmp_path / "run" / "scores" / "xnli" / "none").mkdir(parents=True)
    (tmp_path / "run" / "scores" / "xnli" / "none" / "hi").write_text("in the way")
    code, words = run(world / "tasks.yaml", tmp_path / "run", figures=True)
    assert code == 1, words
    stages = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]
    ended = {stage["name"]: stage["status"] for stage in stages}
    failed = [name for name, status in ended.items() if status == "failed"]
    assert failed
    assert all(name.startswith("scores/xnli/none/hi/") for name in failed)
    listed = [line for line in words.splitlines() if line.startswith("failed: ")]
    assert len(listed) == 2 * len(failed)  # said when it happens and again at the end
    assert sorted(listed[: len(failed)]) == sorted(listed[len(failed) :])
    assert ended["scores/xnli/none/hi/none"] == "failed"
    assert ended["scores/xnli/none/es/none"] == "done"
    assert ended["tables"] == "done"
    assert (tmp_path / "run" / "report" / "index.html").is_file()
