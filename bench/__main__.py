"""Run every benchmark of this folder that has a ``run(console)``, or those named.

Those that need real models or data (``ON_REQUEST``) run only when named. What has a figure to stand
beside is written as one table into ``bench/results``.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from pathlib import Path

from rich.console import Console

from bench._ratios import write


def names() -> list[str]:
    found = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return sorted(name for name in found if not name.startswith("_"))


def main(chosen: list[str]) -> int:
    console = Console(highlight=False)
    unknown = sorted(set(chosen) - set(names()))
    if unknown:
        console.print(f"no benchmark {unknown[0]!r}: known are {', '.join(names())}")
        return 2
    written = None
    for name in chosen or names():
        module = importlib.import_module(f"bench.{name}")
        if not hasattr(module, "run") or (not chosen and hasattr(module, "ON_REQUEST")):
            continue
        console.rule(name)
        start = time.perf_counter()
        module.run(console)
        console.print(f"[dim]{time.perf_counter() - start:.0f} s[/dim]")
        written = write() or written
    if written is not None:
        console.print(f"all ratios: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
