"""Losses of the tokens of text by document, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langneurons.data import Batch, batches
from langneurons.evaluation.token_loss import Head, token_log_probs

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.models import LanguageModel

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class LossBatch:
    """Blocks that run together, and which of their tokens are predicted.

    Attributes:
        batch: The blocks; ``position`` holds each token's document.
        wanted: bool (b, t): counted tokens that have a token before them.
    """

    batch: Batch
    wanted: Tensor

    @property
    def tokens(self) -> int:
        """Counted tokens."""
        return int(self.batch.counted.sum())

    def log_probs(self, lm: LanguageModel, head: Head) -> Tensor:
        """Natural log-probabilities of the wanted tokens, float32 (b, t), 0 elsewhere."""
        return token_log_probs(
            lm,
            head,
            self.batch.input_ids.to(lm.device),
            self.batch.attention_mask.to(lm.device),
            self.wanted.to(lm.device),
        ).cpu()


def loss_batches(blocks: Blocks, batch_size: int | None = None) -> Iterator[LossBatch]:
    """Batches of blocks of similar length, longest first; ``batch_size`` None goes by tokens."""
    # Blocks may mix documents: let each token carry its own where offsets stand.
    owners = replace(blocks, position=blocks.documents())
    batch_tokens = None if batch_size else BATCH_TOKENS
    for batch in batches(owners, batch_tokens=batch_tokens, batch_size=batch_size):
        wanted = batch.counted.clone()
        wanted[:, 1:] &= batch.attention_mask[:, :-1]
        wanted[:, 0] = False
        yield LossBatch(batch, wanted)


class Losses:
    """Sums by document.

    Attributes:
        loss_sum: float64 (documents,), nats.
        counts: float64 (documents,), tokens predicted.
    """

    def __init__(self, blocks: Blocks) -> None:
        documents = len(blocks.document_keys)
        self.loss_sum = torch.zeros(documents, dtype=torch.float64)
        self.counts = torch.zeros(documents, dtype=torch.float64)

    def add(self, batch: LossBatch, log_probs: Tensor) -> None:
        """Add what :meth:`LossBatch.log_probs` gave."""
        owner = batch.batch.position[batch.wanted]
        self.loss_sum.index_add_(0, owner, -log_probs[batch.wanted].double())
        self.counts.index_add_(0, owner, torch.ones(len(owner), dtype=torch.float64))
