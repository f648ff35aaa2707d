"""What a run directory remembers of its own files, so that they need not be read again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langneurons.artifacts import file_digest, read_json, write_json
from langneurons.errors import LangNeuronsError
from langneurons.provenance import files


class Digests:
    """Checksums of a run directory's files, remembered.

    Args:
        out: Run directory.
        verify: Whether every file is read, whatever its size and times.
    """

    def __init__(self, out: Path, *, verify: bool = False) -> None:
        self._out, self._verify = out, verify
        self._kept: dict[str, list[Any]] = {} if verify else kept(out, "digests").get("files", {})
        self._used: dict[str, list[Any]] = {}

    def __call__(self, path: Path) -> str:
        """SHA-256 (hex) of a file."""
        name, now = path.relative_to(self._out).as_posix(), files.signature(path)
        kept = self._kept.get(name)
        if now is not None and kept is not None and kept[:-1] == now:
            self._used[name] = kept
            return str(kept[-1])
        found = file_digest(path)
        if now is not None and files.settled(now, time.time()):
            self._used[name] = [*now, found]
        return found

    def save(self) -> None:
        """Keep what was asked for."""
        if self._used != self._kept or self._verify:
            keep(self._out, "digests", {"files": self._used})


def kept(out: Path, name: str) -> dict[str, Any]:
    """What a run directory has kept under a name; empty where nothing is, or it is damaged."""
    try:
        return read_json(_path(out, name))
    except LangNeuronsError:
        return {}


def keep(out: Path, name: str, what: Mapping[str, Any] | None) -> None:
    """Keep something under a name; None takes it away."""
    if what is None:
        _path(out, name).unlink(missing_ok=True)
    else:
        write_json(_path(out, name), what)


def _path(out: Path, name: str) -> Path:
    return out / ".stages" / "memory" / f"{name}.json"
