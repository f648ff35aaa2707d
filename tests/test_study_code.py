"""Keys know the code that a stage runs: what is reached counts, and nothing else."""

import json
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import langneurons
import study_world
from langneurons.artifacts import read_json
from langneurons.provenance import code, source
from langneurons.provenance.source import _Reader
from langneurons.stages import records
from langneurons.study import Study, kinds

PACKAGE = Path(langneurons.__file__).parent


def digests(text):
    source = _Reader("pack.module", False, textwrap.dedent(text)).source()
    return {name: part.digest for name, part in source.parts.items()}


def test_comments_docstrings_and_layout_are_no_code():
    plain = "def f(a, b=1):\n    return a + b\nclass C:\n    def g(self):\n        return 1\n"
    said = '''
    """A module."""
    # a comment
    def f(a, b=1):
        """What it does."""

        return (a
                + b)  # why
    class C:
        "What it is."
        def g(self):
            """Deep in a class."""
            return 1
    '''
    assert digests(plain) == digests(said)
    assert digests(plain)["f"] != digests(plain.replace("a + b", "a - b"))["f"]
    assert digests(plain)["C"] == digests(plain.replace("return 1", "return 2"))["C"]
    assert digests(plain)["C.g"] != digests(plain.replace("return 1", "return 2"))["C.g"]


def test_what_another_form_of_the_reader_kept_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGNEURONS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "module.py"
    path.write_text("def f(a):\n    return a\n")
    found = source.read("pack.module", path)
    (kept,) = (tmp_path / "cache").rglob("*.json")
    kept.write_text(kept.read_text().replace(found.parts["f"].digest, "of an older form"))
    assert source.read("pack.module", path).parts["f"].digest == "of an older form"
    changed = tmp_path / "source.py"
    changed.write_text(Path(source.__file__).read_text() + "\n")
    source._reader.cache_clear()
    monkeypatch.setattr(source, "__file__", str(changed))
    try:
        assert source.read("pack.module", path) == found
    finally:
        source._reader.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one function that reaches others in every way there is."""
    files = {
        "__init__.py": "from pack.api import shown\n",
        "api.py": """
            from pack.deep import helper
            LIMIT = 3
            def shown(value):
                from pack.late import later
                return later(helper(value, LIMIT), value.method())
            def unused(value):
                return value
        """,
        "deep.py": "def helper(a, b):\n    return a\ndef other(a):\n    return a\n",
        "late.py": """
            from pack import kinds
            from pack.registry import ENTRIES
            def later(a, b):
                return kinds.used(a), ENTRIES, Thing(b)
            class Thing:
                def __init__(self, b): self.b = b
                def method(self): return self.b
                def never(self): return self.b
        """,
        "kinds.py": "def used(a):\n    return a\ndef spare(a):\n    return a\n",
        "registry.py": 'ENTRIES = ["langneurons.errors"]\n',
    }
    folder = tmp_path / "pack"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "pack"]:
        del sys.modules[name]
    forget()


def forget():
    for cached in (code._reach, code._module, code._folder, code._inside):
        cached.cache_clear()


def reached(folder):
    forget()
    import pack

    return code.reach(pack.shown)


@pytest.mark.parametrize(
    ("file", "old", "new", "module"),
    [
        ("api.py", "LIMIT = 3", "LIMIT = 4", "pack.api"),
        ("deep.py", "b):\n    return a", "b):\n    return b", "pack.deep"),
        ("late.py", "return kinds.used(a), ENTRIES", "return ENTRIES, kinds.used(a)", "pack.late"),
        ("late.py", "def method(self): return self.b", "def method(self): return 1", "pack.late"),
        ("kinds.py", "def used(a):\n    return a", "def used(a):\n    return 1", "pack.kinds"),
        ("late.py", "def never(self): return self.b", "def never(self): return 1", None),
        ("deep.py", "def other(a):\n    return a", "def other(a):\n    return 1", None),
        ("api.py", "unused(value):\n    return value", "unused(value):\n    return 1", None),
        ("kinds.py", "def spare(a):\n    return a", "def spare(a):\n    return 1", None),
        ("deep.py", "def helper", "# why\ndef helper", None),
    ],
)  # fmt: skip
def test_a_change_counts_where_it_is_reached(package, file, old, new, module):
    before = reached(package)
    assert "langneurons.errors" in before  # a word that names a module may be imported by it
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    after = reached(package)
    assert [name for name in before if before[name] != after[name]] == ([module] if module else [])


def test_every_kind_is_looked_through_in_half_a_second():
    laid = Study.from_yaml("mini").config
    from langneurons.study.plan import Identity, plan

    texts = dict.fromkeys(laid.languages, "t")
    made = plan(laid, Identity("m", texts, texts, dict.fromkeys(laid.tasks, "x")))
    forget()
    start = time.process_time()
    for stage in made.stages:
        kinds.reached(stage)
    assert time.process_time() - start < 0.5


def test_a_kind_reaches_its_own_room_and_not_its_neighbours():
    study = Study.from_yaml("mini")
    laid = study.plan()
    modules = {stage.kind: set(laid.code[stage.name]) for stage in laid.stages}
    modules["neurons"] = set(laid.code["neurons/lape"])

    def rooms(kind):
        return {name.split(".")[1] for name in modules[kind]}

    assert not rooms("statistics") & {"evaluation", "finetuning", "reporting", "beyond"}
    assert not rooms("neurons") & {"evaluation", "finetuning", "reporting", "beyond"}
    assert "langneurons.statistics.collector" in modules["statistics"]
    assert "langneurons.identification.methods.lape" in modules["neurons"]
    assert "langneurons.identification.methods.gradient" not in modules["neurons"]
    assert "langneurons.intervention.hooking" in modules["scores"]
    assert "langneurons.finetuning.training" in modules["finetune"]
    assert "langneurons.evaluation.comparison" in modules["tables"]
    assert "langneurons.data.tasks.mini" in modules["scores"]
    assert "langneurons.data.tasks.xnli" not in modules["scores"]


RUN = """
import json, os, sys
from pathlib import Path
import pandas, peft, torch, transformers.models.llama.modeling_llama  # once for all that follow


def run(how):
    from langneurons.stages import records
    from langneurons.study import Study
    Study.report = lambda study, out: out  # no figures
    study = Study.from_yaml(sys.argv[1], ["threads=1", "perplexity=null"])
    if how == "plan":
        laid = study.plan()
        return {s.name: records.why(Path(sys.argv[2]), laid, s) for s in laid.stages}
    result = study.run(sys.argv[2], keep_code=how == "keep")
    return {outcome.name: outcome.status for outcome in result.outcomes}


for line in sys.stdin:
    assert not any(name.startswith("langneurons") for name in sys.modules)
    if not (child := os.fork()):  # a process of its own, which imports the copy as it is now
        print(json.dumps(run(line.strip())), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_lape_turned_round_in_a_copy_is_noticed_named_and_may_be_accepted(tmp_path):
    """The whole package is copied, its method changed, and the study run by the copy."""
    copy = tmp_path / "src" / "langneurons"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    world = study_world.build(tmp_path)
    out = tmp_path / "run"

    words = [sys.executable, "-c", RUN, str(world / "study.yaml"), str(out)]
    env = {"PYTHONPATH": str(tmp_path / "src"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
           "OMP_NUM_THREADS": "1"}  # fmt: skip
    runner = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )

    def by_copy(how):
        runner.stdin.write(f"{how}\n")
        runner.stdin.flush()
        for line in runner.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(f"the copy failed to {how}")

    assert set(by_copy("run").values()) == {"done"}
    method = copy / "identification" / "methods" / "lape.py"
    text = method.read_text()
    method.write_text(text.replace('"""Units whose', '"""The units whose'))
    assert set(by_copy("plan").values()) == {None}
    old = "        probabilities,\n        statistics.languages,"
    changed = text.replace(old, old.replace("prob", "1 - prob"), 1)
    assert changed != text
    method.write_text(changed)
    why = by_copy("plan")
    assert why["statistics/en"] is None
    assert why["neurons/lape"] == "the code has changed: langneurons.identification.methods.lape"
    kept = by_copy("keep")
    assert {status for name, status in kept.items() if name != "tables"} == {"kept"}
    said = read_json(out / "run.json")["earlier_code"]
    assert said["neurons/lape"] == ["langneurons.identification.methods.lape"]
    assert by_copy("run")["neurons/lape"] == "done"
    assert read_json(out / "run.json")["earlier_code"] == {}
    runner.communicate()
    assert runner.returncode == 0


@pytest.mark.usefixtures("short_reports")
def test_records_say_what_a_result_was_made_with_and_a_difference_is_told(tmp_path):
    world = study_world.build(tmp_path)
    out = tmp_path / "run"
    study = Study.from_yaml(world / "study.yaml", ["threads=1"])
    assert study.run(out).failed == []
    made = read_json(out / ".stages" / "statistics~en.json")["made"]
    assert {"langneurons", "torch", "transformers", "device", "dtype"} == set(made)
    assert made["dtype"] == "float32"
    assert read_json(out / "run.json")["made_differently"] == []
    path = out / ".stages" / "statistics~en.json"
    record = read_json(path)
    record["made"]["torch"] = "1.0"
    from langneurons.artifacts import write_json

    write_json(path, record)
    (row,) = records.made_differently(out, study.plan())
    assert (row["kind"], row["what"]) == ("statistics", "torch")
    assert row["values"]["1.0"] == ["statistics/en"]
