"""Several processes: each runs its share of the blocks, and the shares are merged at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from langneurons.statistics.moments import Moments
from langneurons.statistics.routed import Routing
from langneurons.statistics.sample import RowSource


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes:
        rank: This process.
        size: How many there are.
        device: Device that the backend exchanges tensors on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"

    @classmethod
    def current(cls, device: torch.device) -> Group:
        """The processes of ``torch.distributed``, started by ``accelerate launch`` or the like.

        Args:
            device: Device of the model.
        """
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) < 2:
                return cls()
            from accelerate import PartialState

            PartialState(cpu=device.type == "cpu")
        exchange = device if dist.get_backend() == "nccl" else "cpu"
        return cls(dist.get_rank(), dist.get_world_size(), exchange)

    def share(self, order: Tensor) -> Tensor:
        """This process's part of ``order``: every ``size``-th, so that lengths are alike."""
        return order[self.rank :: self.size]

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors (one shape and dtype) of all processes, by rank, on the CPU."""
        if self.size == 1:
            return [tensor]
        sent = tensor.to(self.device).contiguous()
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(parts, sent)
        return [part.cpu() for part in parts]

    def merge(self, moments: Moments) -> Moments:
        """Moments of all processes together, folded in order of rank."""
        if self.size == 1:
            return moments
        tokens = [int(part) for part in self.gather(torch.tensor([moments.tokens]))]
        columns = {name: self.gather(tensor) for name, tensor in moments.tensors().items()}
        merged = Moments.empty(tuple(moments.count.shape))
        for rank in range(self.size):
            part = {name: parts[rank] for name, parts in columns.items()}
            merged = merged.merge(Moments.from_tensors(tokens[rank], part))
        return merged

    def merge_routing(self, routing: Routing | None) -> Routing | None:
        """The same for what is known of routed tokens."""
        if routing is None or self.size == 1:
            return routing
        columns = {name: self.gather(tensor) for name, tensor in routing.tensors().items()}
        first, *rest = [
            Routing.from_tensors({name: parts[rank] for name, parts in columns.items()})
            for rank in range(self.size)
        ]
        for other in rest:
            first = first.merge(other)
        return first


class GatheredRows:
    """Rows of which each process holds its own, the others' being zero.

    Every process must ask for the same layers in the same order.

    Args:
        rows: This process's rows.
        group: The processes.
    """

    def __init__(self, rows: RowSource, group: Group) -> None:
        self._rows, self._group = rows, group

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units), of all processes."""
        mine = self._rows.layer(index)
        # Bytes add without loss, since all but one process hold zeros; any backend adds bytes.
        data = mine.contiguous().view(torch.uint8).to(self._group.device)
        dist.all_reduce(data)
        return data.cpu().view(mine.dtype).reshape(mine.shape)
