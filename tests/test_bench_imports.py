"""Every benchmark can be imported: what the documentation names still runs after a move."""

import importlib
import pkgutil

import bench
import pytest

MODULES = sorted(module.name for module in pkgutil.iter_modules(bench.__path__))


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__main__"])
def test_a_benchmark_can_be_imported(name):
    assert importlib.import_module(f"bench.{name}").__doc__
