"""A finished run asks nothing of libraries, and whatever has changed since is still noticed."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

import study_world
from langneurons.models import precision
from langneurons.provenance import files
from langneurons.stages import digests as kept
from langneurons.stages import records
from langneurons.study import Study, memory

HEAVY = ("torch", "transformers", "scipy", "pandas", "matplotlib", "datasets", "peft")


pytestmark = pytest.mark.usefixtures("short_reports")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study's folder and its finished run, some seconds old for the clock of the memory."""
    world = study_world.build(tmp_path_factory.mktemp("memory"))
    with study_world.short_reports():
        Study.from_yaml(world / "study.yaml").run(world / "run")
    past = time.time() - 100
    for path in (world / "run").rglob("*"):
        if path.is_file() and ".stages" not in path.parts:
            os.utime(path, (past, past))
    return world


@pytest.fixture
def world(finished, tmp_path, monkeypatch):
    """A copy with a memory of its own: sizes, times and inodes of the copied files."""
    shutil.copytree(finished, tmp_path / "world")
    found = tmp_path / "world"
    for name in ("study.yaml", "run/study.yaml"):
        path = found / name
        path.write_text(path.read_text(encoding="utf-8").replace(str(finished), str(found)))
    monkeypatch.setattr(files, "_FRESH_SECONDS", -1.0)  # files are as old as they are written
    remembered(found)
    assert reasons(found, save=True) == {}
    return found


def remembered(world):
    """As ``Study.run`` does it: planned first, remembered at its end."""
    made = study(world)
    made.plan(out=world / "run")
    made._remember(world / "run")
    return made


def recalled(world):
    kept = memory.recall(world / "run", memory.look(study(world).config), {})
    return kept and kept.plan


def study(world, *overrides):
    return Study.from_yaml(world / "study.yaml", overrides)


def statuses(world, **options):
    return {outcome.status for outcome in study(world).run(world / "run", **options).outcomes}


def reasons(world, *overrides, verify=False, save=False):
    """Stage to why it would run, of those that would."""
    made, out = study(world, *overrides), world / "run"
    laid = made.plan(out=out, verify=verify)
    digests = kept.Digests(out, verify=verify)
    found = {stage.name: records.why(out, laid, stage, digests) for stage in laid.stages}
    if save:
        digests.save()
    return {name: reason for name, reason in found.items() if reason}


def test_a_plan_that_is_remembered_is_the_plan(world):
    kept, out = recalled(world), world / "run"
    assert kept == study(world).plan()
    assert kept == study(world).plan(out=out) == study(world).plan(out=out, verify=True)


@pytest.mark.parametrize("words", [["run", "STUDY", "-o", "RUN"], ["explain", "RUN", "neu"]])
def test_a_finished_run_imports_nothing_heavy(world, words):
    if words[0] == "run":
        statuses(world)  # the report of the copy
    names = {"STUDY": str(world / "study.yaml"), "RUN": str(world / "run")}
    code = (
        "import sys, json\nfrom langneurons.study import memory\n"
        f"sys.argv = ['langneurons', *{[names.get(word, word) for word in words]!r}]\n"
        "from langneurons.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *said, heavy = done.stdout.strip().splitlines()
    assert json.loads(heavy) == []
    if words[0] == "explain":
        assert said == ["neurons/lape: stands", "neurons/two: stands"]
    else:
        assert said == [f"Report: {world / 'run' / 'report' / 'index.html'}"]
        assert "0 stages done" in done.stderr


def test_a_changed_setting_is_noticed(world):
    assert reasons(world) == {}
    assert set(reasons(world, "statistics.rows=64")) >= {"statistics/en", "neurons/lape", "tables"}
    assert reasons(world) == {}


def changed(path, keep_times=False):
    """Change a byte in the middle, with the size as it was and, if wanted, the times."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "stage", "keep_times"),
    [
        ("en.txt", "statistics/en", True),
        ("model/model.safetensors", "statistics/hi", False),
        ("run/neurons/lape.json", "neurons/lape", True),
        ("run/tables/perplexity.parquet", "tables", False),
    ],
)
def test_a_changed_file_is_noticed(world, name, stage, keep_times):
    path = world / name
    if name == "en.txt":
        text = path.read_text(encoding="utf-8").replace("cat", "cot", 1)
        before = path.stat()
        path.write_text(text, encoding="utf-8")
        if keep_times:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        changed(path, keep_times)
    assert stage in reasons(world)
    assert reasons(world) == reasons(world, verify=True)


def test_files_that_are_added_or_gone_are_noticed(world):
    (world / "model" / "more.json").write_text("{}", encoding="utf-8")
    assert "statistics/en" in reasons(world)
    (world / "model" / "more.json").unlink()
    assert reasons(world) == {}
    (world / "run" / "neurons" / "lape.json").unlink()
    assert reasons(world) == {"neurons/lape": "neurons/lape.json is missing"}


def test_changed_code_is_looked_at_anew(world, monkeypatch):
    assert recalled(world) is not None
    monkeypatch.setattr(files, "package", lambda: files.Seen("of another day", True))
    assert recalled(world) is None
    assert reasons(world) == {}  # the code that stages reach is the same


def test_verify_believes_no_size_and_no_time(world, monkeypatch):
    monkeypatch.setattr(files, "signature", lambda path: [1, 1, 1, 1])
    assert statuses(world, verify=True) == {"kept"}
    changed(world / "run" / "neurons" / "lape.json")
    assert reasons(world) == {}  # nothing to be seen
    assert set(reasons(world, verify=True)) == {"neurons/lape"}


def test_a_file_changed_just_now_is_not_remembered(world, monkeypatch):
    monkeypatch.setattr(files, "_FRESH_SECONDS", 1000.0)
    path = world / "run" / "overlap.parquet"
    path.write_bytes(path.read_bytes())
    for _ in range(2):
        digests = kept.Digests(world / "run")
        wanted = digests(path)
        digests.save()
        assert "overlap.parquet" not in kept.kept(world / "run", "digests")["files"]
    monkeypatch.setattr(files, "_FRESH_SECONDS", -1.0)
    digests = kept.Digests(world / "run")
    assert digests(path) == wanted
    digests.save()
    assert kept.kept(world / "run", "digests")["files"]["overlap.parquet"][-1] == wanted


def page(world):
    return (world / "run" / "report" / "index.html").stat().st_mtime_ns


def test_the_report_is_written_again_only_where_it_would_be_another(world):
    assert statuses(world) == {"kept"}
    before = page(world)
    assert statuses(world) == {"kept"}
    assert page(world) == before
    assert statuses(world, verify=True) == {"kept"}
    assert page(world) > before
    before = page(world)
    next((world / "run" / "report" / "tables").iterdir()).unlink()
    statuses(world)
    assert page(world) > before


def test_a_damaged_memory_costs_time_alone(world):
    for path in (world / "run" / ".stages" / "memory").iterdir():
        path.write_text("{", encoding="utf-8")
    assert statuses(world) == {"kept"}
    assert recalled(world) is not None


def test_auto_enters_the_keys_as_what_it_stands_for(world, monkeypatch):
    def laid(gain, *overrides):
        monkeypatch.setattr(precision, "bf16_gain", lambda kind: gain)
        return study(world, *overrides).plan()["statistics/en"].settings["dtype"]

    assert laid(9.0) == laid(0.1) == "float32"  # the tiny model is stored in it
    config = world / "model" / "config.json"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('"float32"', '"bfloat16"'), encoding="utf-8")
    assert laid(9.0) == "bfloat16"
    assert laid(0.1) == "float32"
    assert laid(0.1, "dtype=bfloat16") == "bfloat16"
    assert laid(0.1, "executor=ray") == "auto"


def rewritten(path, old="cat", new="cot"):
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_text_changed_while_a_run_goes_on_is_noticed_by_the_next(world):
    def report(outcome):
        if not seen:
            rewritten(world / "en.txt")
        seen.append(outcome.status)

    seen = []
    made = study(world, "statistics.rows=64")
    made.run(world / "run", report=report)
    assert "done" in seen
    again = study(world, "statistics.rows=64").run(world / "run").outcomes
    assert {"statistics/en", "neurons/lape"} <= {
        outcome.name for outcome in again if outcome.status == "done"
    }
    # The object that ran holds the old text: it reads again.
    rewritten(world / "es.txt", "gato", "pato")
    assert made.plan().keys == study(world, "statistics.rows=64").plan().keys


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A package's folder in place of this one's, to be changed."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("__init__.py", "one.py"):
        (folder / name).write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(files, "__file__", str(folder / "provenance" / "files.py"))
    files.package.cache_clear()
    yield folder
    files.package.cache_clear()


def test_code_is_the_names_and_signatures_of_files(sources):
    def code():
        files.package.cache_clear()
        return files.package().of

    before = code()
    (sources / "one.pyc").write_bytes(b"compiled")
    assert code() == before
    changed(sources / "one.py", keep_times=True)
    after = code()
    assert after != before
    (sources / "two.py").write_text("", encoding="utf-8")
    more = code()
    assert more not in (before, after)
    (sources / "two.py").rename(sources / "three.py")
    assert code() != more


def test_code_changed_after_planning_is_noticed_by_the_next_process(world, sources):
    made = study(world)
    made.plan(out=world / "run")
    changed(sources / "one.py")  # while stages run
    made._remember(world / "run")
    assert recalled(world) is not None  # this process runs what it has read
    files.package.cache_clear()
    assert recalled(world) is None


@pytest.mark.parametrize("part", ["text", "code"])
def test_a_plan_of_files_changed_just_now_is_not_remembered(world, part, sources, monkeypatch):
    if part == "code":
        monkeypatch.setattr(memory, "_inputs", lambda config: [])
    remembered(world)
    assert recalled(world) is not None
    monkeypatch.setattr(files, "_FRESH_SECONDS", 1000.0)
    if part == "code":  # else it was looked at while it counted as settled
        files.package.cache_clear()
    made = study(world)
    made.plan(out=world / "run", verify=True)
    made._remember(world / "run")
    assert kept.kept(world / "run", "plan") == {}


def test_auto_stays_what_it_was_when_the_plan_was_laid(world, monkeypatch):
    config, out = world / "model" / "config.json", world / "run"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('"float32"', '"bfloat16"'), encoding="utf-8")
    monkeypatch.setattr(precision, "bf16_gain", lambda kind: 0.1)
    study(world).run(out)
    monkeypatch.setattr(precision, "bf16_gain", lambda kind: 9.0)

    def planned(made, **options):
        laid = made.plan(out=out, **options)
        return laid["statistics/en"].settings["dtype"], made.resolved.dtype

    made = study(world)
    assert made.resolved.dtype == "bfloat16"  # asked before there is a plan
    assert planned(made) == ("float32", "float32")
    assert planned(made, verify=True) == ("bfloat16", "bfloat16")
    # What is still to do is computed in what its key says.
    for path in records.files(out, study(world).plan(out=out)["statistics/en"]):
        path.unlink()
    assert "done" in statuses(world)
    assert records.read(out, made.plan(out=out)["statistics/en"])["made"]["dtype"] == "float32"
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["dtype"] == "float32"
    # On another machine it is measured anew.
    monkeypatch.setattr(memory, "_machine", lambda: ["another"])
    assert planned(study(world)) == ("bfloat16", "bfloat16")
