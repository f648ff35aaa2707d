"""Files as they were: sizes and times, by which what was worked out from them is believed."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from langneurons.artifacts import digest

_FRESH_SECONDS = 2.0
"""A file changed so lately may change again within one tick of the file system's clock."""


def signature(path: Path) -> list[int] | None:
    """Size, times of content and of state (ns), and inode; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def settled(found: list[int], now: float) -> bool:
    """Whether a file of this signature was changed long enough ago to be told from a later one."""
    return now - max(found[1], found[2]) / 1e9 > _FRESH_SECONDS


@dataclass(frozen=True)
class Seen:
    """Some files as they were at one time.

    Attributes:
        of: Digest of their names, sizes, times and inodes, and of what else was looked at.
        settled: Whether none of them had been changed just before.
    """

    of: str
    settled: bool


def see(files: Mapping[str, Path]) -> Seen:
    """Look at some files.

    Args:
        files: Name, as it enters the digest, to file.
    """
    now = time.time()
    found = [[name, signature(path)] for name, path in files.items()]
    times = [item for _, item in found if isinstance(item, list)]
    return Seen(digest(found), all(settled(item, now) for item in times))


@functools.cache
def package() -> Seen:
    """This package's own files, as they were when this process first asked.

    Source that was read for keys is kept as long, see :mod:`langneurons.provenance.code`.
    """
    top = Path(__file__).parents[1]
    files = sorted(path for path in top.rglob("*") if path.suffix != ".pyc" and path.is_file())
    return see({path.relative_to(top).as_posix(): path for path in files})


def within(place: Path) -> Iterable[Path]:
    """The file, or all files of the folder, sorted."""
    if not place.is_dir():
        return [place]
    return sorted(path for path in place.rglob("*") if path.is_file())
