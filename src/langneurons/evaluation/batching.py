"""Token sequences of different lengths into padded batches, longest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langneurons.data import by_length, fitting

BATCH_TOKENS = 4096
"""Most positions in a batch where no batch size is asked for."""

CPU_TOKENS = 1024
"""The same for a head's single pass on a processor: activations then stay in its cache."""


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences that run together.

    Attributes:
        index: int64 (b,), their places in the list given.
        input_ids: int64 (b, t).
        attention_mask: int64 (b, t), 1 on real tokens.
    """

    index: Tensor
    input_ids: Tensor
    attention_mask: Tensor

    def to(self, device: torch.device) -> SequenceBatch:
        """The same batch on a device."""
        return SequenceBatch(self.index, self.input_ids.to(device), self.attention_mask.to(device))


def sequence_batches(
    sequences: Sequence[Sequence[int]],
    *,
    pad: int,
    side: str = "right",
    batch_size: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[SequenceBatch]:
    """Batches of similar length that together hold every sequence once.

    Args:
        sequences: Token ids.
        pad: Id that fills up.
        side: ``"right"``, or ``"left"`` for generation.
        batch_size: Sequences in a batch; None goes by ``batch_tokens``.
        batch_tokens: Positions in a batch, padding included.
    """
    lengths = torch.tensor([len(ids) for ids in sequences])
    order, start = by_length(lengths), 0
    while start < len(order):
        width = int(lengths[order[start]])
        limit = (None, batch_size) if batch_size else (batch_tokens, None)
        index = order[start : start + fitting(width, len(order) - start, *limit)]
        start += len(index)
        ids = torch.full((len(index), width), pad)
        mask = torch.zeros((len(index), width), dtype=torch.int64)
        for row, place in enumerate(index.tolist()):
            sequence = torch.tensor(sequences[place])
            where = slice(width - len(sequence), width) if side == "left" else slice(len(sequence))
            ids[row, where] = sequence
            mask[row, where] = 1
        yield SequenceBatch(index, ids, mask)
