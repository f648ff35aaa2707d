"""The source that a function reaches, as digests by module, so that changed code is noticed.

What runs is followed name by name: a function reaches the functions, classes and constants that it
names, those reach others, through every import inside the package, at a module's head or within a
function. A class brings its body; its methods count once something reached uses an attribute of
their name, since no more can be known without running. A package that registers its modules by
itself (``Registry("...", "langneurons.identification.methods")``) is followed whole, unless the
caller says which of its modules matter. Comments, docstrings and layout are in no digest.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from langneurons.provenance.source import Source, read


def reach(
    function: Callable[..., Any],
    only: Iterable[str] = (),
    methods_of: Iterable[type] = (),
    apart: Iterable[str] = (),
) -> dict[str, str]:
    """Digests of what a function reaches, by module.

    Args:
        function: Where to begin.
        only: Modules that stand for the whole self-registering package they are in, such as
            ``langneurons.identification.methods.lape``.
        methods_of: Classes of which the function is handed instances: of these the methods it
            uses count, and nothing else.
        apart: Self-registering packages that are not followed: the caller looks into their modules
            itself.

    Returns:
        Module name to a digest (16 hex digits) of its definitions that are reached; equal for
        equal code on every machine.
    """
    roots = tuple((item.__module__, item.__qualname__) for item in methods_of)
    return _reach(
        function.__module__, function.__name__, tuple(sorted(set(only))), roots, tuple(apart)
    )


@functools.lru_cache(maxsize=1024)
def _reach(
    module: str,
    name: str,
    only: tuple[str, ...],
    methods_of: tuple[tuple[str, str], ...],
    apart: tuple[str, ...],
) -> dict[str, str]:
    walk = _Walk(module.partition(".")[0], only, apart)
    walk.visit(module, name)
    for item in only:
        walk.whole(item)
    for place, kind in methods_of:
        walk.open(place, kind)
    walk.settle()
    found: dict[str, str] = {}
    for place, names in sorted(walk.reached.items()):
        source = walk.module(place)
        assert source is not None
        text = "\n".join(f"{item}={source.parts[item].digest}" for item in sorted(names))
        found[place] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


class _Walk:
    """What has been reached so far."""

    def __init__(self, top: str, only: Iterable[str], apart: Iterable[str]) -> None:
        self.reached: dict[str, set[str]] = {}
        self._tops = {"langneurons", top, *(item.partition(".")[0] for item in only)}
        self._only = set(only)
        self._apart = set(apart)
        self._modules: dict[str, Source | None] = {}
        self._seen: set[tuple[str, str]] = set()
        self._open: set[tuple[str, str]] = set()
        self._attributes: set[str] = set()
        self._todo: list[tuple[str, str]] = []

    def module(self, name: str) -> Source | None:
        """A module of this package or of one that extends it; None for those of libraries."""
        if name not in self._modules:
            ours = name.partition(".")[0] in self._tops
            self._modules[name] = _module(name) if ours else None
        return self._modules[name]

    def visit(self, module: str, name: str) -> None:
        """Reach a definition of a module, or what it imports under that name."""
        if (module, name) in self._seen:
            return
        self._seen.add((module, name))
        source = self.module(module)
        if source is None:
            return
        if name in source.parts:
            self.reached.setdefault(module, set()).add(name)
            self._todo.append((module, name))
            if name and not source.package:
                self.visit(module, "")
            return
        for place, inner in source.imports.get(name, ()):
            if inner is None:
                self.open(place, "")
            elif self.module(f"{place}.{inner}") is not None:
                self.open(f"{place}.{inner}", "")
            else:
                self.visit(place, inner)

    def open(self, module: str, name: str) -> None:
        """Take note of a module (no name) or class: what is in it counts once it is used."""
        if self.module(module) is not None:
            self._open.add((module, name))

    def whole(self, module: str) -> None:
        """Reach everything in a module, or in a package's modules."""
        source = self.module(module)
        if source is None or module in self._apart:
            return
        if not source.package:
            for name in source.parts:
                self.visit(module, name)
            return
        inside = _inside(module)
        for item in [item for item in inside if item in self._only] or inside:
            self.whole(item)

    def settle(self) -> None:
        """Follow until nothing new is reached."""
        known = (-1, -1)
        while self._todo or known != (len(self._attributes), len(self._open)):
            while self._todo:
                self._follow(*self._todo.pop())
            known = (len(self._attributes), len(self._open))
            for module, name in tuple(self._open):
                self._used(module, name)

    def _follow(self, module: str, name: str) -> None:
        source = self.module(module)
        assert source is not None
        part = source.parts[name]
        self._attributes.update(part.attributes)
        for item in part.names:
            self.visit(module, item)
        for item in part.modules:
            self.whole(item)
        if name in source.methods:
            self._open.add((module, name))

    def _used(self, module: str, name: str) -> None:
        source = self.module(module)
        assert source is not None
        if name:
            for method in source.methods.get(name, ()):
                if method in self._attributes:
                    self.visit(module, f"{name}.{method}")
        else:
            for item in self._attributes.intersection([*source.parts, *source.imports]):
                self.visit(module, item)


@functools.cache
def _module(name: str) -> Source | None:
    top, *rest = name.split(".")
    base = _folder(top)
    if base is None:
        return None
    place = base.joinpath(*rest)
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file() and (rest or path.name == "__init__.py"):
            return read(name, path)
    return None


@functools.cache
def _folder(top: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def _inside(package: str) -> tuple[str, ...]:
    """Names of a package's modules and of the packages in it, sorted."""
    top, *rest = package.split(".")
    base = _folder(top)
    assert base is not None
    return tuple(
        f"{package}.{path.stem}"
        for path in sorted(base.joinpath(*rest).iterdir())
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").is_file()
    )
