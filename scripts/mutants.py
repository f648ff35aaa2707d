"""Mutation testing of the rooms that compute: how many small faults do the fast tests notice?

Cosmic Ray makes the faults, one at a time and in a copy of the tree; each is tried by the tests of
its room that run the changed lines. The order is a fixed shuffle, so that any number of mutants is
a fair sample of its room; a later call goes on where the last one stopped. A changed source or
test begins the room anew.

Usage: python -m scripts.mutants [ROOM ...] [--minutes 30] [--most 100] [--report]
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "mutants"
ROOMS = ("statistics", "identification", "intervention", "finetuning", "evaluation")
COPIED = ("src", "tests", "scripts", "bench", "docs", "pyproject.toml", "mkdocs.yml", "README.md",
          "CHANGELOG.md", "Makefile")  # fmt: skip
SLOWER = 4
"""A mutant's tests may take this many times as long as all tests of the room do unchanged."""


def tests_of(room: str) -> list[str]:
    """The test files of a room, and those of its errors."""
    found = sorted((ROOT / "tests").glob(f"test_{room}_*.py"))
    found += sorted((ROOT / "tests").glob(f"test_errors_{room}.py"))
    return [str(path.relative_to(ROOT)) for path in found]


def digest_of(room: str) -> str:
    """Content of the room and of all tests."""
    paths = [*(ROOT / "src/langneurons" / room).rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    parts = [path.read_bytes() for path in sorted(paths)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def environment(tree: Path) -> dict[str, str]:
    """One thread, and the copy instead of the installed package."""
    return {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false", "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip


def prepare(room: str) -> tuple[Path, dict[str, list[str]], float]:
    """A copy of the tree in which the room's tests pass, and which test runs which line.

    Returns:
        The copy, ``FILE:LINE`` to tests, and the seconds that all tests of the room took.
    """
    base = FOLDER / room
    tree, state = base / "tree", base / "baseline.json"
    wanted = digest_of(room)
    if state.is_file() and (found := json.loads(state.read_text()))["digest"] == wanted:
        return tree, found["lines"], found["seconds"]
    shutil.rmtree(base, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tree / name)
    if (ROOT.parent / "shared").exists():
        (base / "shared").symlink_to((ROOT.parent / "shared").resolve())
    print(f"{room}: the tests unchanged, with the lines each of them runs ...", flush=True)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
         f"--cov=langneurons.{room}", "--cov-context=test", "--cov-report=", *tests_of(room)],
        cwd=tree, env=environment(tree), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{room}: its tests fail unchanged:\n{done.stdout[-3000:]}")
    lines = covered(tree)
    seconds = time.perf_counter() - start
    state.write_text(json.dumps({"digest": wanted, "lines": lines, "seconds": seconds}))
    return tree, lines, seconds


def covered(tree: Path) -> dict[str, list[str]]:
    """``FILE:LINE`` to the tests that run it; lines run at import alone have none."""
    from coverage import CoverageData

    data = CoverageData(str(tree / ".coverage"))
    data.read()
    lines: dict[str, list[str]] = {}
    for measured in data.measured_files():
        path = Path(measured)
        name = str(path.relative_to(tree) if path.is_absolute() else path)
        for line, contexts in data.contexts_by_lineno(measured).items():
            tests = {context.partition("|")[0] for context in contexts if context}
            lines[f"{name}:{line}"] = sorted(tests)
    return lines


def silent(path: Path) -> set[int]:
    """Lines whose change cannot matter: annotations, docstrings, imports for types alone."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        spans: list[ast.AST] = []
        if isinstance(node, ast.arg) and node.annotation:
            spans.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
            spans.append(node.returns)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            spans.append(node)
        for span in spans:
            found |= set(range(span.lineno, span.end_lineno + 1))  # type: ignore[attr-defined]
    return found


def work(room: str, tree: Path) -> Iterator[object]:
    """All mutants of a room in a fixed shuffled order, annotations left out."""
    from cosmic_ray.commands.init import init
    from cosmic_ray.work_db import use_db

    base = FOLDER / room
    database = base / "session.sqlite"
    modules = sorted((tree / "src/langneurons" / room).rglob("*.py"))
    with use_db(str(database)) as session:
        if session.num_work_items == 0:
            init(modules, session, {})
        kept = {path: silent(path) for path in modules}
        items = [
            item for item in session.pending_work_items
            if item.mutations[0].start_pos[0] not in kept[Path(item.mutations[0].module_path)]
        ]  # fmt: skip

    def place(item: object) -> str:
        first = item.mutations[0]  # type: ignore[attr-defined]
        words = (Path(first.module_path).relative_to(tree), first.operator_name, first.occurrence)
        return hashlib.sha256(repr(words).encode()).hexdigest()

    yield from sorted(items, key=place)


def run(room: str, minutes: float, most: int) -> None:
    """Try mutants of a room until time or number is reached."""
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    tree, lines, seconds = prepare(room)
    os.environ.update(environment(tree))
    stop = time.monotonic() + 60 * minutes
    database = str(FOLDER / room / "session.sqlite")
    for number, item in enumerate(work(room, tree)):
        if number >= most or time.monotonic() > stop:
            return
        first = item.mutations[0]  # type: ignore[attr-defined]
        name = str(Path(first.module_path).relative_to(tree))
        span = range(first.start_pos[0], first.end_pos[0] + 1)
        known = [lines.get(f"{name}:{line}") for line in span]
        tests = sorted({test for found in known for test in found or ()})
        if not tests and all(found is None for found in known):
            # No test runs the line: nothing could notice.
            result = WorkResult(WorkerOutcome.NO_TEST, test_outcome=TestOutcome.SURVIVED)
        else:
            chosen = FOLDER / room / "chosen.txt"
            chosen.write_text("\n".join(tests or tests_of(room)))
            command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider"
            before = Path.cwd()
            os.chdir(tree)
            try:
                result = mutate_and_test(
                    item.mutations,
                    f"{command} @{chosen}",
                    60 + SLOWER * seconds,  # type: ignore[attr-defined]
                )
            finally:
                os.chdir(before)
        with use_db(database) as session:
            session.set_result(item.job_id, result)  # type: ignore[attr-defined]
        word = "survived" if result.test_outcome == TestOutcome.SURVIVED else "killed"
        print(f"{room} {number + 1}: {word} {name}:{first.start_pos[0]} "
              f"{first.operator_name.removeprefix('core/')}", flush=True)  # fmt: skip


def report(room: str) -> None:
    """The share killed with Wilson's interval, and the survivors."""
    from cosmic_ray.work_db import use_db
    from cosmic_ray.work_item import TestOutcome

    database = FOLDER / room / "session.sqlite"
    if not database.is_file():
        print(f"{room}: not begun")
        return
    with use_db(str(database)) as session:
        done = [(item, result) for item, result in session.completed_work_items]
        whole = session.num_work_items
    alive = [(i, r) for i, r in done if r.test_outcome == TestOutcome.SURVIVED]
    if not done:
        print(f"{room}: none tried")
        return
    killed = len(done) - len(alive)
    ends = binomtest(killed, len(done)).proportion_ci(method="wilson")
    print(f"{room}: {killed} of {len(done)} killed, {100 * killed / len(done):.0f} % "
          f"[{100 * ends.low:.0f}, {100 * ends.high:.0f}] (of {whole} mutants)")  # fmt: skip
    for item, result in alive:
        first = item.mutations[0]
        name = Path(first.module_path).relative_to(FOLDER / room / "tree/src/langneurons")
        print(f"  {name}:{first.start_pos[0]} {first.operator_name.removeprefix('core/')}")
        changed = [line for line in (result.diff or "").splitlines() if line[:1] in "+-"]
        print(
            "".join(f"    {line}\n" for line in changed if line[:3] not in ("+++", "---")), end=""
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--minutes", type=float, default=30, help="for each room, at most")
    parser.add_argument("--most", type=int, default=100, help="mutants of each room, at most")
    parser.add_argument("--report", action="store_true", help="only say what was found so far")
    given = parser.parse_args()
    for room in given.rooms or ROOMS:
        if room not in ROOMS:
            parser.error(f"no room {room!r}: {', '.join(ROOMS)}")
        if not given.report:
            run(room, given.minutes, given.most)
    for room in given.rooms or ROOMS:
        report(room)


if __name__ == "__main__":
    main()
