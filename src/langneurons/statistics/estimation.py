"""What a collection will take: tokens, memory, disk and time, before it starts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from langneurons.data import Blocks
from langneurons.errors import InputError
from langneurons.models import LanguageModel
from langneurons.progress import human_bytes, human_time
from langneurons.statistics import routed
from langneurons.statistics.collector import Collector, first_limits, running_order
from langneurons.statistics.moments import BYTES_PER_UNIT
from langneurons.statistics.options import PAPER_PROBABILITIES, Resolved
from langneurons.statistics.sample import MemoryRows, select

_STATE_COPIES = 2  # the accumulators, and a copy while they are written
_LAYER_COPIES = 3  # one layer's rows while they are moved to their file: raw, checksum, written


class Size(NamedTuple):
    """How much text there is: blocks, and counted tokens in them."""

    blocks: int
    tokens: int


@dataclass(frozen=True)
class Estimate:
    """What a collection is expected to take.

    Attributes:
        tokens: Counted tokens of each language.
        blocks: Blocks of each language.
        memory: Bytes of host memory at the peak, beyond model and text.
        disk: Bytes on disk at the peak; 0 without an output folder.
        tokens_per_second: Measured rate; None where it was not measured.
        seconds: Expected time for all languages; None where no rate was measured.
    """

    tokens: dict[str, int]
    blocks: dict[str, int]
    memory: int
    disk: int
    tokens_per_second: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        counts = ", ".join(f"{lang} {count:,}" for lang, count in self.tokens.items())
        text = f"tokens {counts}; memory {human_bytes(self.memory)} beyond the model"
        if self.disk:
            text += f"; disk {human_bytes(self.disk)}"
        if self.seconds is not None and self.tokens_per_second is not None:
            text += f"; {human_time(self.seconds)} at {self.tokens_per_second:,.0f} tokens/s"
        return text


def row_dtype(lm: LanguageModel, options: Resolved) -> torch.dtype:
    """Dtype that token rows are stored in: bfloat16, or in exact mode the model's own."""
    return lm.dtype if options.quantiles == "exact" else torch.bfloat16


def expect(
    lm: LanguageModel, sizes: Mapping[str, Size], options: Resolved, output: Path | None
) -> Estimate:
    """Memory and disk that a collection takes, by arithmetic."""
    place = lm.sites[options.site]
    layers, units, width = lm.layers, place.common, routed.row_width(place)
    itemsize = row_dtype(lm, options).itemsize
    kept = {
        lang: item.tokens if options.limit is None else min(options.limit, item.tokens)
        for lang, item in sizes.items()
    }
    each = BYTES_PER_UNIT + (0 if place.inner is None else routed.BYTES_PER_UNIT)
    state = each * layers * units
    if options.quantiles == "batch-mean":
        state += 8 * len(PAPER_PROBABILITIES) * layers * units
    layer_rows = {lang: rows * width * itemsize for lang, rows in kept.items()}
    total = {lang: size * layers for lang, size in layer_rows.items()}
    # Finished languages keep their accumulators in the result.
    memory = state * (_STATE_COPIES + len(sizes))
    disk = 0
    if output is None:
        memory += sum(total.values())
    else:
        memory += _LAYER_COPIES * max(layer_rows.values(), default=0)
        disk = sum(total.values()) + max(total.values(), default=0) + state * (len(sizes) + 1)
    return Estimate(
        {lang: item.tokens for lang, item in sizes.items()},
        {lang: item.blocks for lang, item in sizes.items()},
        memory,
        disk,
    )


def together(estimates: Sequence[Estimate]) -> Estimate:
    """What several collections from the same text take, all at once."""
    memory, disk = (sum(getattr(item, name) for item in estimates) for name in ("memory", "disk"))
    return replace(estimates[0], memory=memory, disk=disk)


def measure(lm: LanguageModel, blocks: Blocks, options: Resolved) -> float:
    """Counted tokens per second over one real batch, after a short one to warm up."""
    selection = select(blocks, 0, options.seed)
    rows = MemoryRows(torch.empty(lm.layers, 0, routed.row_width(lm.sites[options.site])))
    collector = Collector(
        lm,
        options.site,
        blocks,
        running_order(blocks, keep_order=options.quantiles == "batch-mean"),
        selection,
        rows,
        options.quantiles == "batch-mean",
        first_limits(lm, options.batch_size),
    )
    index = collector.next_batch()
    with collector.hooked(), torch.no_grad():
        collector.step(index[:1])
        start = time.perf_counter()
        collector.step(index)
        tokens = collector.moments().tokens - int(blocks.counted[index[:1]].sum())
        return tokens / (time.perf_counter() - start)


def refuse_if_too_large(estimate: Estimate, output: Path | None) -> None:
    """Stop before anything runs if memory or disk will not do.

    Raises:
        InputError: With what is needed, what is there, and what to change.
    """
    import psutil

    available = int(psutil.virtual_memory().available)
    if estimate.memory > available:
        advice = (
            "give an output folder (rows then lie on disk)" if output is None else "use fewer rows"
        )
        raise InputError(
            f"statistics need {human_bytes(estimate.memory)} of memory beyond the model, "
            f"{human_bytes(available)} are free: {advice}."
        )
    if output is None:
        return
    folder = output.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if estimate.disk > free:
        raise InputError(
            f"statistics need {human_bytes(estimate.disk)} on disk, {human_bytes(free)} are free "
            f"in {str(folder)!r}: use fewer rows or another folder."
        )
