"""Every benchmark can be imported, and what the documentation names is there or said to be past."""

import importlib
import pkgutil
import re
from pathlib import Path

import bench
import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"(?:python -m bench[. ]|`bench\.)([a-z_]+)")

MODULES = sorted(module.name for module in pkgutil.iter_modules(bench.__path__))


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__main__"])
def test_a_benchmark_can_be_imported(name):
    assert importlib.import_module(f"bench.{name}").__doc__


def named(text):
    """Benchmarks that a text names, with the text around each."""
    return [(m[1], text[max(0, m.start() - 200) : m.end() + 200]) for m in NAMED.finditer(text)]


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in [
        *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"
    ])
)  # fmt: skip
def test_a_benchmark_that_a_page_names_is_there_or_its_commit_is_said(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "docs/records.md":  # the records as they stand
        assert "stand in commit 5775831" in text
        return
    gone = [name for name, around in named(text) if name not in MODULES and "commit" not in around]
    assert not gone


def test_a_past_benchmark_is_found_out():
    ((name, around),) = named("measured by `python -m bench.real_nothing` once")
    assert name == "real_nothing"
    assert name not in MODULES
    assert "commit" not in around
