"""Print the oldest release of every requirement that pyproject.toml allows, as pip constraints.

Usage: python scripts/oldest.py > oldest.txt; pip install --constraint oldest.txt .
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# What the tests themselves need may be newer.
EXTRAS = ("gguf", "erasure", "translation")


def constraints(project: Path = PROJECT) -> list[str]:
    """``NAME==VERSION`` for the lower bound of each requirement, extras included."""
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    lines = list(declared["dependencies"])
    for extra in EXTRAS:
        lines += declared["optional-dependencies"][extra]
    pinned = []
    for requirement in map(Requirement, lines):
        lower = [part.version for part in requirement.specifier if part.operator == ">="]
        if len(lower) != 1:
            raise SystemExit(f"{requirement} has no lower bound: give it one in pyproject.toml.")
        pinned.append(f"{requirement.name}=={lower[0]}")
    return pinned


if __name__ == "__main__":
    sys.stdout.write("\n".join(constraints()) + "\n")
