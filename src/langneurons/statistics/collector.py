"""The streaming pass over one language: hook, reduce, commit, and a state to continue from.

Several sites may be read in one pass, by a collector each.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langneurons.artifacts import read_tensors, write_tensors
from langneurons.data import Batch, Blocks, by_length, fitting, gather, used_columns
from langneurons.errors import ArtifactError, RunError
from langneurons.models import LanguageModel, hook_experts, hook_site
from langneurons.models.expert_units import Routed
from langneurons.statistics.forward import run_backbone
from langneurons.statistics.moments import Moments, Summary, stack, summarize
from langneurons.statistics.options import PAPER_PROBABILITIES
from langneurons.statistics.routed import Routing, pack, reduce_routed, stack_routing
from langneurons.statistics.sample import RowWriter, Selection

BATCH_TOKENS = {"cpu": 2048}
"""Most positions in a batch by device type, to begin with; see :data:`ACCELERATOR_TOKENS`."""

ACCELERATOR_TOKENS = 16384
_PENDING_BYTES = 1 << 28  # rows that may wait on an accelerator before they go to the host
_QUANTILE_ELEMENTS = 1 << 23  # torch.quantile takes at most 16 million elements


@dataclass
class Progress:
    """How far a pass has come: blocks done (in batching order) and the present batch limits."""

    done: int = 0
    batch_tokens: int | None = None
    batch_size: int | None = None


@dataclass(eq=False)
class Collector:
    """What one site does in the blocks of one language, or in this process's share of them.

    Attributes:
        lm: The model.
        site: Site to read.
        blocks: Blocks of the language.
        order: int64, the blocks of this pass in the order they run.
        selection: Tokens whose rows are kept.
        writer: Where the rows go.
        batch_quantiles: Whether to average per-batch quantiles too.
        progress: Where to begin.
        layers: Moments of each layer.
        routing: Of units inside experts, tokens routed and extremes on them, of each layer.
        quantile_sum: float64 (P, L, U), sum over batches.
        batches: Batches in ``quantile_sum``.
    """

    lm: LanguageModel
    site: str
    blocks: Blocks
    order: Tensor
    selection: Selection
    writer: RowWriter
    batch_quantiles: bool
    progress: Progress
    layers: list[Moments] = field(default_factory=list)
    routing: list[Routing] = field(default_factory=list)
    quantile_sum: Tensor | None = None
    batches: int = 0

    def __post_init__(self) -> None:
        place = self.lm.sites[self.site]
        units, self._inner = place.common, place.inner
        self._experts, self._slots_each = units // (place.inner or units), place.chosen
        if not self.layers:
            self.layers = [Moments.empty((units,)) for _ in range(self.lm.layers)]
        if place.inner is not None and not self.routing:
            self.routing = [Routing.empty(self._experts, place.inner) for _ in self.layers]
        if self.batch_quantiles and self.quantile_sum is None:
            shape = (len(PAPER_PROBABILITIES), self.lm.layers, units)
            self.quantile_sum = torch.zeros(shape, dtype=torch.float64)
        self._place = torch.full((len(self.blocks),), -1)
        self._rows: Tensor | None = None
        self._tokens = 0
        self._counted: Tensor = torch.empty(0, dtype=torch.bool)
        self._seen: dict[int, Moments] = {}
        self._routed: dict[int, Routing] = {}
        self._quantiles: dict[int, Tensor] = {}
        self._chosen: Tensor = torch.empty(0, dtype=torch.int64)
        self._slots: Tensor = torch.empty(0, dtype=torch.int64)
        self._waiting: list[tuple[int, Tensor]] = []
        self._waiting_bytes = 0

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Hook the site while the block runs."""
        hooked = (
            hook_site(self.lm, self.site, self._see)
            if self._inner is None
            else hook_experts(self.lm, self.site, self._see_routed)
        )
        with hooked:
            yield

    def next_batch(self) -> Tensor:
        """The blocks of the next batch, int64."""
        done, left = self.progress.done, len(self.order) - self.progress.done
        longest = int(self.blocks.lengths[self.order[done]])
        limits = self.progress.batch_tokens, self.progress.batch_size
        return self.order[done : done + fitting(longest, left, *limits)]

    def step(self, index: Tensor) -> None:
        """Run the blocks ``index`` as one batch and add them; nothing is added on an error."""
        _step([self], index)

    def begin(self, index: Tensor, batch: Batch) -> None:
        """Get ready to see a batch.

        Args:
            index: Its blocks.
            batch: The same, gathered.
        """
        counted = batch.counted.reshape(-1)
        self._tokens, self._counted = int(counted.sum()), counted
        self._rows = None
        if self._tokens < len(counted):
            self._rows = counted.nonzero()[:, 0]
        self._find_rows(index, batch.input_ids.shape[1])
        self.forget()
        self._waiting.clear()
        self._waiting_bytes = 0

    def forget(self) -> None:
        """Drop what has been seen of a batch that did not pass."""
        self._seen.clear()
        self._routed.clear()
        self._quantiles.clear()

    def commit(self) -> None:
        """Add the batch that has passed."""
        self._write_waiting()
        for layer, seen in self._seen.items():
            known = self.layers[layer]
            self.layers[layer] = known.to(seen.count.device).merge(seen)
        for layer, routing in self._routed.items():
            self.routing[layer] = self.routing[layer].to(routing.tokens.device).merge(routing)
        if self.quantile_sum is not None:
            for layer, quantiles in self._quantiles.items():
                self.quantile_sum[:, layer] += quantiles.to("cpu", torch.float64)
            self.batches += 1

    def _find_rows(self, index: Tensor, width: int) -> None:
        """Which kept tokens lie in this batch: their slots, and their places in it."""
        self._place[index] = torch.arange(len(index))
        row = self._place[self.selection.block]
        self._slots = (row >= 0).nonzero()[:, 0]
        first = used_columns(self.blocks, index).start
        column = self.selection.column[self._slots] - first
        self._chosen = row[self._slots] * width + column
        self._place[index] = -1

    def _see(self, layer: int, activation: Tensor) -> None:
        flat = activation.reshape(-1, activation.shape[-1])
        if flat.device.type == "mps":  # it has no float64 to merge in
            flat = flat.cpu()
        rows = None if self._rows is None else self._rows.to(flat.device, non_blocking=True)
        known = self.layers[layer]
        shift = known.mean.to(flat.device) if known.tokens else None
        chosen = self._chosen.to(flat.device, non_blocking=True)
        summary, kept = _reduce(flat, rows, shift, chosen)
        self._seen[layer] = Moments.of(summary, self._tokens)
        if self.quantile_sum is not None:
            self._quantiles[layer] = _batch_quantiles(flat, rows)
        if len(chosen):
            self._keep(layer, kept)

    def _see_routed(self, layer: int, routed: Routed) -> None:
        if routed.values.device.type == "mps":  # it has no float64 to merge in
            routed = Routed(*(part.cpu() for part in vars(routed).values()))
        device = routed.values.device
        self._seen[layer], self._routed[layer] = reduce_routed(
            routed, self._counted.to(device, non_blocking=True), self._experts, self._tokens
        )
        if len(self._chosen):
            chosen = self._chosen.to(device, non_blocking=True)
            self._keep(layer, pack(routed, chosen, self._slots_each))

    def _keep(self, layer: int, kept: Tensor) -> None:
        """Write rows now, or when there are many."""
        self._waiting.append((layer, kept))
        self._waiting_bytes += kept.nbytes
        if kept.device.type == "cpu" or self._waiting_bytes > _PENDING_BYTES:
            self._write_waiting()

    def _write_waiting(self) -> None:
        # A slot has one token for good, so writing it again after a failed batch does no harm.
        for layer, kept in self._waiting:
            self.writer.write(layer, self._slots, kept)
        self._waiting.clear()
        self._waiting_bytes = 0

    def moments(self) -> Moments:
        """Moments (L, U) of everything so far, on the CPU; 0 in layers without the site."""
        present = self.lm.sites[self.site].layers
        if not present:
            return stack(self.layers)
        known = self.layers[present[0]]
        zero = Moments.from_tensors(
            known.tokens,
            {name: torch.zeros_like(tensor) for name, tensor in known.tensors().items()},
        )
        return stack([seen if n in present else zero for n, seen in enumerate(self.layers)])

    def routed(self) -> Routing | None:
        """Routing (L, ...) of everything so far, on the CPU; None where units are in no experts."""
        if not self.routing:
            return None
        present = self.lm.sites[self.site].layers
        tokens, *bounds = self.routing[0].tensors().values()
        zero = Routing(torch.zeros_like(tokens), *(torch.zeros_like(part) for part in bounds))
        return stack_routing([r if n in present else zero for n, r in enumerate(self.routing)])

    def save(self, path: Path, key: str) -> None:
        """Write the state, so that a later pass can :meth:`restore` it."""
        self.writer.flush()
        moments = self.moments()
        tensors = moments.tensors()
        if self.quantile_sum is not None:
            tensors["quantile_sum"] = self.quantile_sum
        if (routing := self.routed()) is not None:
            tensors |= routing.tensors()
        state = {
            "key": key,
            "tokens": moments.tokens,
            "batches": self.batches,
            "done": self.progress.done,
            "batch_tokens": self.progress.batch_tokens,
            "batch_size": self.progress.batch_size,
        }
        write_tensors(path, tensors, state)

    def restore(self, saved: SavedState) -> None:
        """Go on from a saved state."""
        tensors, state = saved
        moments = Moments.from_tensors(state["tokens"], tensors)
        self.layers = [moments.layer(layer) for layer in range(self.lm.layers)]
        self.quantile_sum = tensors.get("quantile_sum")
        if "routed_tokens" in tensors:
            routing = Routing.from_tensors(tensors)
            self.routing = [routing.layer(layer) for layer in range(self.lm.layers)]
        self.batches = state["batches"]
        self.progress = Progress(state["done"], state["batch_tokens"], state["batch_size"])


def run(
    collectors: Sequence[Collector],
    advance: Callable[[int], None],
    checkpoint: Callable[[], None],
) -> None:
    """Run all batches that are left; a batch passes once for all sites that have not seen it.

    Args:
        collectors: Of the same blocks in the same order, each of another site. One that is further
            than the others, as after a stop, waits for them.
        advance: Called after each batch with its counted tokens.
        checkpoint: Called after each batch; saves the states when it is time to.

    Raises:
        RunError: If even one block does not fit into the device's memory.
    """
    order = collectors[0].order
    while (least := min(item.progress.done for item in collectors)) < len(order):
        behind = [item for item in collectors if item.progress.done == least]
        ahead = (item.progress.done for item in collectors if item.progress.done > least)
        with contextlib.ExitStack() as stack, torch.no_grad():
            for item in behind:
                stack.enter_context(item.hooked())
            _run_until(behind, min(ahead, default=len(order)), advance, checkpoint)


def _run_until(
    collectors: Sequence[Collector],
    stop: int,
    advance: Callable[[int], None],
    checkpoint: Callable[[], None],
) -> None:
    """Run batches until ``stop`` blocks are done; all collectors are equally far."""
    first = collectors[0]
    while (done := first.progress.done) < stop:
        index = first.next_batch()[: stop - done]
        try:
            _step(collectors, index)
        except RuntimeError as error:
            _shrink(collectors, error, len(index))
            continue
        for item in collectors:
            item.progress.done += len(index)
        advance(int(first.blocks.counted[index].sum()))
        checkpoint()


def _step(collectors: Sequence[Collector], index: Tensor) -> None:
    """Run one batch for several collectors; nothing is added on an error."""
    first = collectors[0]
    batch = gather(first.blocks, index)
    for item in collectors:
        item.begin(index, batch)
    if not bool(batch.counted.any()):
        return
    run_backbone(first.lm, batch.input_ids, batch.attention_mask)
    for item in collectors:
        item.commit()


def _shrink(collectors: Sequence[Collector], error: RuntimeError, blocks: int) -> None:
    """Halve the batch after an out-of-memory error; raise anything else."""
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    if not should_reduce_batch_size(error):
        raise error
    averaged = any(item.batch_quantiles for item in collectors)
    if blocks == 1 or averaged:
        advice = "use a smaller batch_size" if blocks > 1 else "use a smaller block"
        raise RunError(
            f"a batch of {blocks} block(s) does not fit into the memory of "
            f"{collectors[0].lm.device}: {advice}."
        ) from error
    for item in collectors:
        item.forget()
        item.progress.batch_size = blocks // 2
    clear_device_cache(garbage_collection=True)


SavedState = tuple[dict[str, Tensor], dict[str, Any]]


def saved_state(path: Path, key: str) -> SavedState | None:
    """State written by :meth:`Collector.save`, if there is an undamaged one of this pass."""
    if not path.is_file():
        return None
    try:
        tensors, state = read_tensors(path)
    except ArtifactError:
        return None
    return (tensors, state) if state.get("key") == key else None


def _reduce(
    flat: Tensor, rows: Tensor | None, shift: Tensor | None, chosen: Tensor
) -> tuple[Summary, Tensor]:
    """Moments of a batch and its kept rows: one fused kernel where there is a GPU for it."""
    if flat.device.type == "cuda" and flat.dtype != torch.float64 and has_triton():
        from langneurons.statistics import fused

        if fused.works_on(flat.device):
            return fused.summarize_and_keep(flat.contiguous(), rows, shift, chosen)
    return summarize(flat, rows, shift), flat.index_select(0, chosen)


@cache
def has_triton() -> bool:
    """Whether Triton is installed, as it is beside PyTorch for NVIDIA and AMD GPUs."""
    return importlib.util.find_spec("triton") is not None


def _batch_quantiles(flat: Tensor, rows: Tensor | None) -> Tensor:
    chosen = flat if rows is None else flat.index_select(0, rows)
    dtype = torch.float64 if flat.dtype == torch.float64 else torch.float32
    p = torch.tensor(PAPER_PROBABILITIES, dtype=dtype, device=flat.device)
    step = max(1, _QUANTILE_ELEMENTS // len(chosen))
    return torch.cat(
        [torch.quantile(part.to(dtype), p, dim=0) for part in chosen.split(step, dim=1)], dim=1
    )


def first_limits(lm: LanguageModel, batch_size: int | None) -> Progress:
    """Batch limits to begin with."""
    if batch_size is not None:
        return Progress(batch_size=batch_size)
    return Progress(batch_tokens=BATCH_TOKENS.get(lm.device.type, ACCELERATOR_TOKENS))


def running_order(blocks: Blocks, keep_order: bool) -> Tensor:
    """Order in which blocks run: by length, or (where batches are part of the result) as given."""
    return torch.arange(len(blocks)) if keep_order else by_length(blocks.lengths)
