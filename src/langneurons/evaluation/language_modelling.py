"""Perplexity of held-out text: e to the mean negative log-probability of a counted token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from langneurons.data import Blocks, make_blocks
from langneurons.errors import InputError, RunError
from langneurons.evaluation.intervals import ratio_interval
from langneurons.evaluation.losses import Losses, loss_batches
from langneurons.evaluation.token_loss import Head, find_head
from langneurons.evaluation.touched import Interventions, intervened
from langneurons.models.checking import warn_without_beginning
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

BLOCK = 256


@dataclass(frozen=True)
class PerplexityResult:
    """Losses by document, and what follows from them.

    Attributes:
        rows: One row a document: ``document`` (index), ``loss_sum`` (nats), ``tokens``.
    """

    rows: pd.DataFrame

    @property
    def tokens(self) -> int:
        """Tokens predicted."""
        return int(self.rows["tokens"].sum())

    @property
    def documents(self) -> int:
        """Documents with at least one predicted token."""
        return len(self.rows)

    @property
    def loss(self) -> float:
        """Mean negative log-probability of a token, in nats."""
        return float(self.rows["loss_sum"].sum() / self.tokens)

    @property
    def value(self) -> float:
        """The perplexity, e to the loss; inf where the loss is beyond what a float can show."""
        with np.errstate(over="ignore"):
            return float(np.exp(np.float64(self.loss)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the perplexity over documents, a t interval of its logarithm."""
        low, high = ratio_interval(self.rows["loss_sum"], self.rows["tokens"], level=level)
        with np.errstate(over="ignore"):
            return float(np.exp(low)), float(np.exp(high))

    def __str__(self) -> str:
        low, high = self.interval()
        return (
            f"perplexity {self.value:.2f} [{low:.2f}, {high:.2f}] "
            f"(e to the mean loss {self.loss:.4f} nats a token; {self.tokens:,} tokens of "
            f"{self.documents:,} documents)"
        )


def loss_ratio(
    touched: PerplexityResult,
    plain: PerplexityResult,
    *,
    level: float = 0.95,
) -> dict[str, float | int]:
    """Perplexity as a ratio to untouched on the same documents.

    Args:
        touched: Losses under an intervention.
        plain: Losses without.
        level: Level of the interval over documents (t, of the logarithm).

    Returns:
        ``ratio``, ``low``, ``high``, ``tokens``, ``documents``; inf beyond what a float can show.
    """
    difference = touched.rows["loss_sum"].to_numpy() - plain.rows["loss_sum"].to_numpy()
    low, high = ratio_interval(difference, plain.rows["tokens"], level=level)
    with np.errstate(over="ignore"):
        return {
            "ratio": float(np.exp(touched.loss - plain.loss)),
            "low": float(np.exp(low)),
            "high": float(np.exp(high)),
            "tokens": plain.tokens,
            "documents": plain.documents,
        }


def perplexity(
    lm: LanguageModel,
    texts: Sequence[str] | Blocks,
    *,
    intervention: Interventions = None,
    tokens: int | None = None,
    block: int = BLOCK,
    batch_size: int | None = None,
    head: Head | None = None,
) -> PerplexityResult:
    """Perplexity of a causal model on text.

    Every counted token that has a token before it in its block is predicted once, from the tokens
    before it in the block. Logits over the vocabulary exist a few rows at a time only.

    Args:
        lm: A causal model.
        texts: Documents, or blocks of them.
        intervention: What to write over which units meanwhile.
        tokens: Take about so many tokens of ``texts``; None takes all.
        block: Tokens in a block of ``texts``.
        batch_size: Blocks in a batch; None goes by the number of tokens.
        head: The model's head, where :func:`find_head` has found it already.

    Raises:
        InputError: If there is no token to predict, or the model has no language-model head.
        RunError: If a loss is not a number.
    """
    blocks = as_blocks(lm, texts, tokens=tokens, block=block)
    head = head or find_head(lm)
    losses = Losses(blocks)
    with (
        intervened(lm, intervention, "perplexity"),
        track("perplexity", blocks.tokens, "tokens") as bar,
    ):
        for batch in loss_batches(blocks, batch_size):
            losses.add(batch, batch.log_probs(lm, head))
            bar.advance(batch.tokens)
    return result_of(losses)


def as_blocks(
    lm: LanguageModel, texts: Sequence[str] | Blocks, *, tokens: int | None, block: int
) -> Blocks:
    """Blocks of what :func:`perplexity` takes.

    Raises:
        InputError: If blocks and a number of tokens are given.
    """
    if not isinstance(texts, Blocks):
        made = make_blocks(texts, lm.tokenizer, block=block, tokens=tokens)
        lead = None if made.cut is None else made.cut.lead
        warn_without_beginning(lm.config, lm.tokenizer, lm.name, lead)
        return made
    if tokens is not None:
        raise InputError("tokens applies to texts, blocks are taken whole: leave tokens out.")
    return texts


def result_of(losses: Losses) -> PerplexityResult:
    """The result of summed losses.

    Raises:
        InputError: If no token was predicted.
        RunError: If a loss is not a number.
    """
    loss_sum, counts = losses.loss_sum.numpy(), losses.counts.numpy()
    used = counts > 0
    if not used.any():
        raise InputError("the text holds no token to predict: give longer documents.")
    if np.isnan(loss_sum).any():
        raise RunError(
            "the loss is not a number: the intervention's value or the adapter drove the model "
            "out of range; choose a milder one or another dtype."
        )
    return PerplexityResult(
        pd.DataFrame(
            {
                "document": np.flatnonzero(used),
                "loss_sum": loss_sum[used],
                "tokens": counts[used].astype(np.int64),
            }
        )
    )
