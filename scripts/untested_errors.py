"""User-facing errors that no test has raised, by the coverage of the tests that ran before.

Every entry of the catalogue (docs/errors.md) is a line of the source; a line that did not run is an
error without a test. `make test` runs this on the data of the whole fast suite.

Usage: python -m scripts.untested_errors [MOST] [.coverage]
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from coverage import CoverageData
from scripts import error_catalogue

# What cannot be raised on any machine at will, with the reason.
EXEMPT: dict[str, str] = {}


def statement(tree: ast.AST, line: int) -> int:
    """First line of the innermost statement that holds a line: what coverage counts by."""
    inner = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    return max(node.lineno for node in inner)


def untested(data: CoverageData, source: Path = error_catalogue.SOURCE) -> list[str]:
    """`module:line message` of each error whose statement did not run."""
    ran: dict[str, set[int]] = {}
    for file in data.measured_files():
        module = Path(file).as_posix().rpartition("langneurons/")[2]
        ran.setdefault(module, set()).update(data.lines(file) or ())
    trees: dict[str, ast.AST] = {}
    missed = []
    for entry in error_catalogue.entries(source):
        if entry.module not in trees:
            text = (source / entry.module).read_text(encoding="utf-8")
            trees[entry.module] = ast.parse(text)
        first = statement(trees[entry.module], entry.line)
        lines = {first, entry.line}
        if not lines & ran.get(entry.module, set()) and entry.message not in EXEMPT:
            missed.append(f"{entry.module}:{entry.line} {entry.message}")
    return missed


def main(most: str = "0", path: str = ".coverage") -> int:
    """Print each untested error; 1 if there are more than `most`."""
    data = CoverageData(path)
    data.read()
    missed = untested(data)
    for line in missed:
        sys.stdout.write(f"no test raises {line}\n")
    return 1 if len(missed) > int(most) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
