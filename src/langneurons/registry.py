"""One generic registry: methods, tasks and text formats register themselves by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from langneurons.errors import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to objects; a second entry under one name is an error at import.

    Args:
        kind: What is registered, for messages ("identification method").
        package: Package whose modules register themselves when imported; it is imported on the
            first look-up, so that a new entry is one new file and nothing else.
        group: Entry point group in which other distributions name modules that do the same.
    """

    def __init__(self, kind: str, package: str | None = None, group: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._group = group
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that stores the decorated object under ``name``.

        Raises:
            ValueError: If the name is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def _load(self) -> None:
        if self._package is not None:
            import pkgutil

            package, self._package = importlib.import_module(self._package), None
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
        if self._group is not None:
            from importlib.metadata import entry_points

            group, self._group = self._group, None
            for entry in entry_points(group=group):
                entry.load()

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            InputError: If there is none; the message names the nearest known entry.
        """
        self._load()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
