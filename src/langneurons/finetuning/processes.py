"""Training spread over processes, as ``accelerate launch`` or ``torchrun`` start them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState
from torch import Tensor, nn

T = TypeVar("T")


class Processes:
    """The processes of one run; a run of a single process communicates nothing.

    Every process holds the whole model and takes its share of each batch. Only gradients of
    trained weights are exchanged, which for an adapter are few, so no wrapper around the model is
    needed.

    Args:
        device: Device of the model in this process; decides how processes talk.
    """

    def __init__(self, device: torch.device) -> None:
        self.count, self.rank = 1, 0
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._state = PartialState(cpu=device.type == "cpu")
            self.count, self.rank = self._state.num_processes, self._state.process_index

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of a batch; may be empty."""
        return list(items[self.rank :: self.count])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradients of all processes, in one message."""
        if self.count == 1:
            return
        listed = list(parameters)
        flat = torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float()
                for p in listed
            ]
        )
        torch.distributed.all_reduce(flat)
        for parameter, part in zip(listed, flat.split([p.numel() for p in listed]), strict=True):
            parameter.grad = part.reshape(parameter.shape).to(parameter.dtype)

    def sum(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Elementwise sum of numbers over the processes."""
        if self.count == 1:
            return list(values)
        tensor: Tensor = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor]

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            self._state.wait_for_everyone()
