"""Training spread over processes, as ``accelerate launch`` or ``torchrun`` start them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import Tensor, nn

from langneurons.errors import InputError
from langneurons.finetuning.sharding import sharding_asked_for

T = TypeVar("T")


class Processes:
    """The processes of one run; a run of a single process communicates nothing.

    Every process holds the trained weights and takes its share of each batch. Their gradients,
    which for an adapter are few, are exchanged here, so no wrapper around the model is needed.

    Args:
        device: Device of the model in this process; decides how processes talk.

    Attributes:
        count: How many there are.
        rank: Number of this one.
        device: Where to compute: the device of the model; where frozen weights are sharded and the
            model lies on the CPU, this process's accelerator, if there is one.
        sharded: Whether frozen weights are spread over the processes.
    """

    def __init__(self, device: torch.device) -> None:
        self.count, self.rank, self.device = 1, 0, device
        self.sharded = sharding_asked_for()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            elsewhere = self.sharded and torch.accelerator.is_available()
            self._state = PartialState(cpu=device.type == "cpu" and not elsewhere)
            self.count, self.rank = self._state.num_processes, self._state.process_index
            if self.sharded:
                self.device = self._state.device

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> tuple[list[T], bool]:
        """This process's part of a batch, and whether it counts.

        It may be empty. Where frozen weights are sharded every process has to take part in every
        pass, so that one without a part runs the first item, which then does not count.
        """
        part = list(items[self.rank :: self.count])
        if part or not self.sharded:
            return part, True
        return list(items[:1]), False

    def agree(self, key: str) -> None:
        """Check that all processes are about the same run.

        Raises:
            InputError: If not: another model, text or setting, or weights that were never loaded.
        """
        if self.count == 1:
            return
        keys: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(keys, key)
        if len(set(keys)) > 1:
            raise InputError(
                "the processes hold different models, examples or settings; use the same arguments "
                "in all, and set fsdp_cpu_ram_efficient_loading to false where FSDP is used."
            )

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
