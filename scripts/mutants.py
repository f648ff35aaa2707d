"""Mutation testing of the rooms that compute: how many small faults do the fast tests notice?

Cosmic Ray makes the faults, one at a time and in a copy of the tree; each is tried by those tests
of its room that run the changed statement, the quickest first. The order is a fixed shuffle, so
that any number of mutants is a fair sample of its room. A later call goes on where the last one
stopped: a mutant is known by its line, so that an edit elsewhere leaves it as it is, and one that
survived is tried again as soon as a test of its room has changed. Those in
``scripts/equal_mutants.yaml`` mean the same as the code and are not counted.

Each mutant runs in a fork of a process that has the heavy libraries loaded already.

Usage: python -m scripts.mutants [ROOM ...] [--minutes 30] [--most 60] [--report]
"""

from __future__ import annotations

import argparse
import ast
import compileall
import hashlib
import importlib
import json
import os
import py_compile
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "mutants"
EQUAL = ROOT / "scripts" / "equal_mutants.yaml"
ELSEWHERE = ("src/langneurons/statistics/fused.py",)
"""Runs on GPUs and in Triton alone, which does not come with PyTorch for CPUs."""
ROOMS = ("statistics", "identification", "intervention", "finetuning", "evaluation")
COPIED = ("src", "tests", "scripts", "bench", "docs", "pyproject.toml", "mkdocs.yml", "README.md",
          "CHANGELOG.md", "Makefile")  # fmt: skip
PRELOADED = {"accelerate", "datasets", "hypothesis", "numpy", "pandas", "peft", "pyarrow",
             "pydantic", "safetensors", "scipy", "sklearn", "statsmodels", "tokenizers", "torch",
             "transformers"}  # fmt: skip
LEAST, SLOWER = 40.0, 5.0
"""Seconds a mutant's tests may take: at least, and as a multiple of what they took unchanged."""
MEMORY = 8 * 2**30
"""Bytes a mutant may take."""

Lines = dict[str, list[str]]


@dataclass(frozen=True)
class Mutant:
    """One small fault.

    Attributes:
        file: Path from the root of the tree.
        operator, occurrence: Cosmic Ray's names for it in this state of the file.
        line, column: Where it begins (from 1, from 0).
        key: The same as long as its line stays the same, wherever the line stands.
    """

    file: str
    operator: str
    occurrence: int
    line: int
    column: int
    key: str


@dataclass(frozen=True)
class Tried:
    """What became of a mutant.

    Attributes:
        outcome: ``killed``, ``survived``, ``endless`` (out of time or memory; counts as killed) or
            ``none`` (what Cosmic Ray made is no Python, or the same as before; not counted).
        killer: The test that noticed it, if one did.
        tests: State of the room's tests when it was tried.
        before, after: The changed lines.
        seconds: How long it took.
    """

    key: str
    file: str
    line: int
    operator: str
    outcome: str
    killer: str
    tests: str
    before: str
    after: str
    seconds: float


# -- The tests ---------------------------------------------------------------------------------


def tests_of(room: str) -> list[Path]:
    """The test files of a room, and those of its errors."""
    found = sorted((ROOT / "tests").glob(f"test_{room}_*.py"))
    return found + sorted((ROOT / "tests").glob(f"test_errors_{room}.py"))


def digest(*paths: Path) -> str:
    """Of the content of files."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def copy_tree(room: str) -> Path:
    """A fresh copy of what the tests need, compiled; only a changed file is compiled anew."""
    base = FOLDER / room
    tree = base / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tree / name)
    shared = base / "shared"
    if (ROOT.parent / "shared").exists() and not shared.exists():
        shared.symlink_to((ROOT.parent / "shared").resolve())
    checked = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(tree / "src", quiet=2, invalidation_mode=checked)
    return tree


class Watcher:
    """Pytest's plug-in: seconds of each test, and those that failed."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.setup: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: object) -> None:
        """One phase of one test is over."""
        name, took = report.nodeid, report.duration  # type: ignore[attr-defined]
        if report.when == "setup":  # type: ignore[attr-defined]
            self.setup[name] += took
        else:
            self.seconds[name] += took
        if report.failed:  # type: ignore[attr-defined]
            self.failed.append(name)

    def pytest_collectreport(self, report: object) -> None:
        """A file that cannot be imported has noticed the mutant."""
        if report.failed:  # type: ignore[attr-defined]
            self.failed.append(report.nodeid)  # type: ignore[attr-defined]


def in_tree(tree: Path, arguments: list[str], answer: Path, caching: bool) -> None:
    """In a fork: run pytest in the copy, write what the watcher saw, and end."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("scripts", "langneurons")]:
        del sys.modules[name]
    os.chdir(tree)
    sys.path[:] = [str(tree / "src"), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
    sys.dont_write_bytecode = not caching
    os.environ.update(
        PYTHONPATH=str(tree / "src"), OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false",
        PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    import hypothesis
    import pytest

    # Which examples are tried does not depend on chance, and a failure is not made smaller first.
    hypothesis.settings.register_profile(
        "mutants", database=None, deadline=None, derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )  # fmt: skip
    hypothesis.settings.load_profile("mutants")
    watcher = Watcher()
    rc = pytest.main(
        ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={tree.parent / 'tmp'}", *arguments],
        plugins=[watcher],
    )
    loaded = sorted(name for name in sys.modules if name.split(".")[0] in PRELOADED)
    answer.write_text(json.dumps({
        "rc": int(rc), "failed": watcher.failed, "seconds": watcher.seconds,
        "setup": watcher.setup, "modules": loaded,
    }))  # fmt: skip


def forked(room: str, arguments: list[str], seconds: float, caching: bool = False) -> dict | None:
    """Run pytest in a fork of this process; ``None`` where it ended out of time or memory."""
    base = FOLDER / room
    answer, log = base / "answer.json", base / "output.txt"
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            in_tree(base / "tree", arguments, answer, caching)
        finally:
            os._exit(0)
    stop = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > stop:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.05)
    return json.loads(answer.read_text()) if answer.is_file() else None


def preload(modules: list[str]) -> None:
    """Load the heavy libraries once, for all forks."""
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:  # loaded in another order than the tests do: not needed
            continue


@dataclass(frozen=True)
class Baseline:
    """What the tests of a room do where nothing is changed.

    Attributes:
        lines: ``FILE:LINE`` to the tests that run it; line 0 stands for all of a file.
        seconds: Test to seconds, and test file to those of its longest fixture.
        state: State of the tests.
        fresh: Whether all tests have passed since the source last changed. Else a test that
            notices a mutant has to pass without it.
    """

    lines: Lines
    seconds: dict[str, float]
    state: str
    fresh: bool


def baseline(room: str) -> Baseline:
    """Which test runs which line and how long it takes, all of them unchanged.

    Only test files that changed since the last call are run again. In a source file that changed
    every line counts as run by all tests that ran any of it.
    """
    tree = copy_tree(room)
    state = FOLDER / room / "baseline.json"
    paths = sorted((tree / "src/langneurons" / room).rglob("*.py"))
    source = {str(path.relative_to(tree)): digest(path) for path in paths}
    known = json.loads(state.read_text()) if state.is_file() else {}
    known = {"source": {}, "files": {}, "modules": ["torch"], **known}
    changed = {name for name, found in known["source"].items() if source.get(name) != found}
    known["fresh"] = known.get("fresh", True) and not changed
    known["source"] = source
    for found in known["files"].values():
        found["lines"] = without_lines(found["lines"], changed)
    preload(known["modules"])
    files = {f"tests/{path.name}": digest(path) for path in tests_of(room)}
    known["files"] = {
        name: found for name, found in known["files"].items()
        if files.get(name) == found["digest"]
    }  # fmt: skip
    missing = [name for name in files if name not in known["files"]]
    if missing:
        print(
            f"{room}: {len(missing)} test files unchanged, with the lines they run ...", flush=True
        )
        coverage = FOLDER / room / "tree/.coverage"
        done = forked(
            room,
            [f"--cov=langneurons.{room}", "--cov-context=test", "--cov-report=",
             "--maxfail=1000", *missing],
            3600, caching=True,
        )  # fmt: skip
        if done is None or done["rc"] not in (0, 1):
            said = (FOLDER / room / "output.txt").read_text()
            sys.exit(f"{room}: its tests do not run:\n{said[-3000:]}")
        if done["failed"]:
            print(f"{room}: fail unchanged, left out: {', '.join(done['failed'])}", flush=True)
        lines = covered(coverage, FOLDER / room / "tree")
        for name in missing:
            own = {
                line: [
                    test for test in tests
                    if test.partition("::")[0] == name and test not in done["failed"]
                ]
                for line, tests in lines.items()
            }  # fmt: skip
            seconds = {t: s for t, s in done["seconds"].items() if t.partition("::")[0] == name}
            setup = max(
                (s for t, s in done["setup"].items() if t.partition("::")[0] == name), default=0
            )
            known["files"][name] = {
                "digest": files[name], "lines": own, "seconds": seconds, "setup": setup,
            }  # fmt: skip
        known["modules"] = sorted({*known["modules"], *done["modules"]})
        known["fresh"] = known["fresh"] or len(missing) == len(files)
        preload(known["modules"])
    state.write_text(json.dumps(known))
    lines: Lines = {}
    seconds: dict[str, float] = {}
    for name in sorted(known["files"]):
        found = known["files"][name]
        for line, tests in found["lines"].items():
            lines.setdefault(line, []).extend(tests)
        seconds.update(found["seconds"])
        # What a file's fixtures take, once.
        seconds[name] = found["setup"]
    return Baseline(lines, seconds, digest(*tests_of(room)), known["fresh"])


def without_lines(lines: Lines, files: set[str]) -> Lines:
    """The tests of some source files by file alone, as line 0."""
    kept: Lines = {}
    for place, tests in lines.items():
        name = place.rpartition(":")[0]
        place = f"{name}:0" if name in files else place
        kept[place] = sorted({*kept.get(place, ()), *tests})
    return kept


def covered(file: Path, tree: Path) -> Lines:
    """``FILE:LINE`` to the tests that run it; lines run at import alone have none."""
    from coverage import CoverageData

    data = CoverageData(str(file))
    data.read()
    lines: Lines = {}
    for measured in data.measured_files():
        path = Path(measured)
        name = str(path.relative_to(tree) if path.is_absolute() else path)
        for line, contexts in data.contexts_by_lineno(measured).items():
            tests = {context.rpartition("|")[0] for context in contexts if context}
            lines[f"{name}:{line}"] = sorted(tests)
    return lines


def statement(tree: ast.Module, line: int) -> range:
    """Lines of the innermost statement at a line; of one that has a body, those before it."""
    best = range(line, line + 1)
    size = None
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= (node.end_lineno or 0):
            continue
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        last = node.end_lineno or node.lineno
        if isinstance(body, list) and body:
            first = body[0].lineno if hasattr(body[0], "lineno") else body[0].pattern.lineno
            last = max(node.lineno, first - 1)
        if node.lineno <= line <= last and (size is None or last - node.lineno < size):
            best, size = range(node.lineno, last + 1), last - node.lineno
    return best


def chosen(
    mutant: Mutant, tree: ast.Module, lines: Lines, seconds: dict[str, float], most: float
) -> tuple[list[str], float]:
    """The tests that try a mutant, quickest file first, and what they took unchanged.

    Those that run the statement; where it runs at import alone, all that run the file. As many as
    fit into ``most`` seconds, at least one.
    """
    tests = {
        test for line in statement(tree, mutant.line)
        for test in lines.get(f"{mutant.file}:{line}", ())
    }  # fmt: skip
    if not tests:
        tests = {test for place, found in lines.items()
                 if place.rpartition(":")[0] == mutant.file for test in found}  # fmt: skip
    files: dict[str, list[str]] = {}
    for test in sorted(tests, key=lambda test: (seconds.get(test, 0.0), test)):
        files.setdefault(test.partition("::")[0], []).append(test)
    order = sorted(files, key=lambda f: (seconds.get(f, 0.0) + seconds.get(files[f][0], 0.0), f))
    taken: list[str] = []
    total = 0.0
    for file in order:
        total += seconds.get(file, 0.0)
        for test in files[file]:
            total += seconds.get(test, 0.0)
            if taken and total > most:
                return taken, total
            taken.append(test)
    return taken, total


# -- The mutants -------------------------------------------------------------------------------


def silent(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans whose change cannot matter: annotations, imports for types alone."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            found.append(node.returns)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.append(node)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))  # type: ignore[attr-defined]
        for node in found
    ]


def mutants(room: str, root: Path = ROOT) -> list[Mutant]:
    """All mutants of a room in a tree at ``root``, in a fixed shuffled order.

    Looking for them takes a minute, so those of one state of the room are kept.
    """
    from cosmic_ray.commands.init import init
    from cosmic_ray.work_db import use_db

    paths = sorted((root / "src/langneurons" / room).rglob("*.py"))
    paths = [path for path in paths if str(path.relative_to(root)) not in ELSEWHERE]
    kept, state = FOLDER / room / "mutants.json", digest(*paths)
    if kept.is_file() and (found := json.loads(kept.read_text()))["state"] == state:
        return [Mutant(**row) for row in found["mutants"]]
    with use_db(":memory:") as session:
        init(paths, session, {})
        specs = [item.mutations[0] for item in session.work_items]
    texts = {path: path.read_text(encoding="utf-8").splitlines() for path in paths}
    skipped = {path: silent(ast.parse("\n".join(text))) for path, text in texts.items()}
    same: Counter[str] = Counter()
    listed = []
    for spec in sorted(specs, key=lambda s: (str(s.module_path), s.operator_name, s.occurrence)):
        path = Path(spec.module_path)
        line, column = spec.start_pos
        if any(start <= (line, column) < end for start, end in skipped[path]):
            continue
        text = texts[path][line - 1]
        name = str(path.relative_to(root))
        place = column - (len(text) - len(text.lstrip()))
        key = "|".join((name, spec.operator_name, text.strip(), str(place)))
        same[key] += 1
        listed.append(
            Mutant(name, spec.operator_name, spec.occurrence, line, column, f"{key}|{same[key]}")
        )
    listed.sort(key=lambda m: hashlib.sha256(m.key.encode()).hexdigest())
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"state": state, "mutants": [asdict(m) for m in listed]}))
    return listed


def mutated(mutant: Mutant, source: str) -> tuple[str, str, str]:
    """The changed source, the lines it lost and those it gained."""
    import difflib

    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    code = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    changed = list(difflib.ndiff(source.splitlines(), (code or source).splitlines()))
    before, after = (
        "\n".join(line[2:].strip() for line in changed if line[0] == sign) for sign in "-+"
    )
    return code or source, before, after


def compiles(code: str) -> bool:
    """Whether it is Python."""
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def equal_ones() -> dict[tuple[str, str, str], str]:
    """File, lines before and after, to why this mutant means the same."""
    rows = yaml.safe_load(EQUAL.read_text(encoding="utf-8")) if EQUAL.is_file() else None
    return {(row["file"], row["before"].strip(), row["after"].strip()): row["why"]
            for row in rows or ()}  # fmt: skip


def history(room: str) -> dict[str, Tried]:
    """What was tried so far, by key; the last try counts."""
    path = FOLDER / room / "tried.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {row["key"]: Tried(**row) for row in map(json.loads, text.splitlines())}


def run(room: str, minutes: float, most: int, seconds: float) -> None:
    """Try the first mutants of a room's order until time or number is reached."""
    (FOLDER / room).mkdir(parents=True, exist_ok=True)
    found = baseline(room)
    stop = time.monotonic() + 60 * minutes
    before = history(room)
    equal = equal_ones()
    passing: dict[str, bool] = {}
    tree = FOLDER / room / "tree"  # the copy: what is edited meanwhile makes no difference
    order = mutants(room, tree)[:most]
    sources = {mutant.file: (tree / mutant.file).read_text(encoding="utf-8") for mutant in order}
    with (FOLDER / room / "tried.jsonl").open("a", encoding="utf-8") as out:
        for number, mutant in enumerate(order):
            if time.monotonic() > stop:
                return
            known = before.get(mutant.key)
            if known and (
                known.outcome != "survived" or known.tests == found.state
                or (known.file, known.before, known.after) in equal
            ):  # fmt: skip
                continue
            target, source = tree / mutant.file, sources[mutant.file]
            code, lost, gained = mutated(mutant, source)
            tests, cost = chosen(mutant, ast.parse(source), found.lines, found.seconds, seconds)
            start = time.monotonic()
            outcome, killer = "survived", ""
            if code == source or not compiles(code):
                outcome = "none"
            while outcome == "survived" and tests:  # none: nothing could notice
                target.write_text(code, encoding="utf-8")
                try:
                    done = forked(room, tests, LEAST + SLOWER * cost)
                finally:
                    target.write_text(source, encoding="utf-8")
                if done is None:
                    outcome = "endless"
                elif done["rc"] == 0:
                    break
                elif not done["failed"]:
                    said = (FOLDER / room / "output.txt").read_text()
                    sys.exit(f"{room}: pytest did not run the tests:\n{said[-3000:]}")
                elif found.fresh or passes(room, done["failed"][0], passing):
                    outcome, killer = "killed", done["failed"][0]
                else:
                    tests = [test for test in tests if test not in done["failed"]]
            tried = Tried(
                mutant.key, mutant.file, mutant.line, mutant.operator.removeprefix("core/"),
                outcome, killer, found.state, lost, gained, round(time.monotonic() - start, 1),
            )  # fmt: skip
            out.write(json.dumps(asdict(tried), ensure_ascii=False) + "\n")
            out.flush()
            print(f"{room} {number + 1}: {outcome} in {tried.seconds:.0f} s, {len(tests)} tests: "
                  f"{mutant.file}:{mutant.line} {tried.operator}", flush=True)  # fmt: skip


def passes(room: str, test: str, known: dict[str, bool]) -> bool:
    """Whether a test passes where nothing is changed; asked once."""
    if test not in known:
        done = forked(room, [test], 600)
        known[test] = done is not None and done["rc"] == 0
    return known[test]


def report(room: str, most: int) -> None:
    """The share killed with Wilson's interval, and the survivors."""
    order = mutants(room)
    before, equal = history(room), equal_ones()
    done = [(m, before[m.key]) for m in order[:most]
            if m.key in before and before[m.key].outcome != "none"]  # fmt: skip
    same = [t for _, t in done if (t.file, t.before, t.after) in equal]
    counted = [(m, t) for m, t in done if (t.file, t.before, t.after) not in equal]
    if not counted:
        print(f"{room}: none tried")
        return
    alive = [(m, t) for m, t in counted if t.outcome == "survived"]
    killed = len(counted) - len(alive)
    endless = sum(t.outcome == "endless" for _, t in counted)
    ends = binomtest(killed, len(counted)).proportion_ci(method="wilson")
    print(f"{room}: {killed} of {len(counted)} killed, {100 * killed / len(counted):.0f} % "
          f"[{100 * ends.low:.0f}, {100 * ends.high:.0f}] ({endless} out of time; "
          f"{len(same)} more equal by meaning; {len(order)} mutants in all)")  # fmt: skip
    for mutant, tried in alive:
        print(f"  {mutant.file}:{mutant.line} {tried.operator}")
        for sign, text in (("-", tried.before), ("+", tried.after)):
            print("".join(f"    {sign} {line}\n" for line in text.splitlines()), end="")
    for tried in same:
        print(f"  equal: {tried.file.removeprefix('src/langneurons/')}: `{tried.before}` -> "
              f"`{tried.after}`: {equal[tried.file, tried.before, tried.after]}")  # fmt: skip


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument(
        "--minutes", type=float, default=30, help="for each room, beside the tests unchanged"
    )
    parser.add_argument("--most", type=int, default=60, help="the first so many of each room")
    parser.add_argument(
        "--seconds", type=float, default=60, help="of tests a mutant, as they took unchanged"
    )
    parser.add_argument("--report", action="store_true", help="only say what was found so far")
    given = parser.parse_args()
    for room in given.rooms or ROOMS:
        if room not in ROOMS:
            parser.error(f"no room {room!r}: {', '.join(ROOMS)}")
        if not given.report:
            run(room, given.minutes, given.most, given.seconds)
    for room in given.rooms or ROOMS:
        report(room, given.most)


if __name__ == "__main__":
    main()
