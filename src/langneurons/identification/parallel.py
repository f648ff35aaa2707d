"""Work on slices of units in as many threads as torch may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


def over_slices(
    work: Callable[[slice], Result], length: int, step: int
) -> Iterator[tuple[slice, Result]]:
    """Call ``work`` on consecutive slices of ``range(length)``; results come in order.

    The kernels used here (sorting, partitioning, counting) run on one thread each and let others
    run meanwhile, so that threads over slices use the cores that threads within a kernel do not.

    Args:
        work: Function of a slice; must not change what other slices read.
        length: Number of units.
        step: Units in a slice.

    Yields:
        Each slice and its result.
    """
    slices = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    threads = torch.get_num_threads()
    if threads == 1 or len(slices) == 1:
        for part in slices:
            yield part, work(part)
        return
    # One thread within each of ours; threads that torch has not seen yet take the new number.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(threads, len(slices))) as pool:
            yield from zip(slices, pool.map(work, slices), strict=True)
    finally:
        torch.set_num_threads(threads)
