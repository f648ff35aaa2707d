"""How PyTorch's threads wait, and how many there are: chosen before PyTorch starts.

PyTorch's threads (OpenMP) spin for some milliseconds when they wait for each other. On a machine
with other work a spinning thread takes a core from the very thread it waits for. Told to wait
passively they sleep, which costs microseconds where nothing else runs.

An OpenMP runtime reads its settings once, when it is loaded: ``import langneurons`` writes them
into the environment as long as none is loaded. What the user set there is left alone.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables that decide how threads wait; one of them set by the user decides."""
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that decide how many threads PyTorch starts."""
_RUNTIMES = ("libgomp", "libiomp", "libomp")

_chosen: dict[str, str] = {}
_late: list[str] = []


def prepare() -> None:
    """Choose how threads wait and how many start, unless that is decided already."""
    wanted = choices(os.environ, quota(), affinity())
    if not wanted:
        return
    loaded = _loaded()
    if loaded:
        _late[:] = [f"{name}={value}" for name, value in wanted.items()]
        return
    os.environ.update(wanted)
    _chosen.update(wanted)


def choices(
    environment: os._Environ[str] | dict[str, str], limit: float | None, visible: int
) -> dict[str, str]:
    """Variables to set, given those that are.

    Args:
        environment: The process's variables; what they decide is not decided again.
        limit: Cores by quota, None without one.
        visible: Cores that the process may be scheduled on.
    """
    wanted = {}
    if not any(environment.get(name) for name in WAITING):
        wanted["OMP_WAIT_POLICY"] = "PASSIVE"
    # Without a quota PyTorch counts the cores itself, and knows which share a physical one.
    limited = limit is not None and math.ceil(limit) < visible
    if limited and not any(environment.get(name) for name in COUNTS):
        wanted["OMP_NUM_THREADS"] = str(_whole(limit))
    return wanted


def affinity() -> int:
    """Cores that the process may be scheduled on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores() -> int:
    """Cores that the process may use: by affinity, and by the quota of its container."""
    limit = quota()
    return affinity() if limit is None else min(affinity(), _whole(limit))


def _whole(limit: float | None) -> int:
    # A core and a half is used up by two threads, not by one.
    return max(1, math.ceil(limit or 1))


def quota(root: str | os.PathLike[str] = "/") -> float | None:
    """Cores by the CPU quota of the process's control groups (version 1 or 2); None without one.

    The groups above count too: the least of them holds.

    Args:
        root: Folder that ``proc`` and ``sys`` lie in.
    """
    base = Path(root)
    found = []
    for line in _read(base / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:  # version 2
            mounts = [base / "sys/fs/cgroup", base / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [base / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
        else:
            continue
        # In a container the path may be the host's, and the group itself lies at the mount.
        inner = Path(path.lstrip("/"))
        for folder in {mount / part for mount in mounts for part in (inner, *inner.parents)}:
            found += [limit for limit in (_limit(folder),) if limit is not None]
    return min(found, default=None)


def _limit(folder: Path) -> float | None:
    """Cores that one group allows."""
    words = _read(folder / "cpu.max").split() or [
        _read(folder / "cpu.cfs_quota_us").strip(),
        _read(folder / "cpu.cfs_period_us").strip(),
    ]
    try:
        allowed, period = map(float, words)
    except ValueError:  # "max", or no such file
        return None
    return allowed / period if allowed > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _loaded() -> bool:
    """Whether an OpenMP runtime has read its settings already."""
    if "torch" in sys.modules:
        return True
    maps = _read(Path("/proc/self/maps"))
    # Other packages bring runtimes under names of their own, which PyTorch does not use.
    return any(f"/{name}.so" in maps for name in _RUNTIMES)


def waiting() -> str:
    """How idle threads wait, and who decided it."""
    if any(name in _chosen for name in WAITING):
        return "asleep (OMP_WAIT_POLICY=PASSIVE, chosen by langneurons)"
    given = [f"{name}={os.environ[name]}" for name in WAITING if os.environ.get(name)]
    if given:
        return f"as the environment says ({', '.join(given)})"
    return "spinning (PyTorch's own way)"


def not_set() -> list[str]:
    """One sentence for what could not be chosen any more, as PyTorch had started."""
    if not _late:
        return []
    return [
        f"threads that make room for other work: PyTorch was loaded before langneurons (set "
        f"{' '.join(_late)} in the environment, or import langneurons first)"
    ]
