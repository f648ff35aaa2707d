"""Packages whose public names are imported when first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def names(
    package: str, homes: Mapping[str, str], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562) that imports its names on first use.

    Args:
        package: The package's ``__name__``.
        homes: Public name to the module that defines it. No name may be that of a module of the
            package, which would take its place once imported.
        modules: Modules of the package that are public names themselves.
    """
    inside = frozenset(modules)

    def resolve(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(homes[name]), name)
        elif name in inside:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *inside})

    return resolve, listed
