"""Perplexity under many changes: what their forward passes have in common is done once.

All of them read the same tokens, and a change (an intervention, features overwritten, an
autoencoder in the place of a layer's output) does nothing below the first layer it touches. The
untouched pass keeps what chosen layers return; every other pass begins behind the last of them that
lies below its own first layer. Losses are equal to the last bit to those of whole passes: behind
every layer where passes may begin one is begun and compared with a whole one, once a model, and
where they differ (an architecture that carries more than the hidden state from layer to layer, as
keys and values that later layers share) whole passes are run.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.evaluation.language_modelling import PerplexityResult, perplexity, result_of
from langneurons.evaluation.losses import Losses, loss_batches
from langneurons.evaluation.token_loss import Head, find_head
from langneurons.evaluation.touched import Interventions, intervened
from langneurons.intervention import as_interventions
from langneurons.models.prefix import free_of_hooks, keeping, resuming

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.models import LanguageModel

KEPT_BYTES = 256 * 2**20
"""Memory for what layers returned in the untouched pass over one batch."""

_resumable: weakref.WeakKeyDictionary[Any, dict[int, bool]] = weakref.WeakKeyDictionary()
"""Backbone to whether a pass may begin behind a layer, for the layers tried so far."""


def perplexities(
    lm: LanguageModel,
    blocks: Blocks,
    interventions: Sequence[Interventions],
    *,
    head: Head | None = None,
    batch_size: int | None = None,
    kept_bytes: int = KEPT_BYTES,
    advance: Callable[[float], None] = lambda amount: None,
) -> list[PerplexityResult]:
    """Perplexity of blocks of text under each of several interventions.

    Args:
        lm: A causal model.
        blocks: The text.
        interventions: What is written over which units, one entry a result; None for nothing.
        head: The model's head, where it has been found already.
        batch_size: Blocks in a batch; None goes by the number of tokens.
        kept_bytes: Memory for kept layers' outputs, of one batch at a time.
        advance: Told of work done, in passes over the whole text.

    Returns:
        One result an entry, each equal to that of
        :func:`~langneurons.evaluation.language_modelling.perplexity`.

    Raises:
        InputError: As :func:`~langneurons.evaluation.language_modelling.perplexity`.
        RunError: As :func:`~langneurons.evaluation.language_modelling.perplexity`.
    """

    def change(item: Interventions) -> Change:
        return Change(first_layer(item), lambda: intervened(lm, item, "perplexity"))

    return perplexities_of(
        lm, blocks, [change(item) for item in interventions],
        head=head, batch_size=batch_size, kept_bytes=kept_bytes, advance=advance,
    )  # fmt: skip


@dataclass(frozen=True)
class Change:
    """What is done to a model in one of several passes over the same text.

    Attributes:
        first: The first layer that is touched; None where nothing is.
        on: Gives a block in which it is done.
    """

    first: int | None
    on: Callable[[], contextlib.AbstractContextManager[None]]


def perplexities_of(
    lm: LanguageModel,
    blocks: Blocks,
    changes: Sequence[Change],
    *,
    head: Head | None = None,
    batch_size: int | None = None,
    kept_bytes: int = KEPT_BYTES,
    advance: Callable[[float], None] = lambda amount: None,
) -> list[PerplexityResult]:
    """Perplexity of blocks of text under each of several changes.

    Args:
        lm: A causal model.
        blocks: The text.
        changes: What is done, one entry a result.
        head: See :func:`perplexities`.
        batch_size: See :func:`perplexities`.
        kept_bytes: See :func:`perplexities`.
        advance: See :func:`perplexities`.

    Returns:
        One result an entry, each equal to that of whole passes under the change.

    Raises:
        InputError: See :func:`perplexities`.
        RunError: See :func:`perplexities`.
    """
    head = head or find_head(lm)
    first = [item.first for item in changes]
    below = [layer - 1 for layer in first if layer]
    if not below or not pays(lm, first) or not _can_resume(lm, head, blocks, below):
        found = []
        for item in changes:
            with item.on():
                found.append(perplexity(lm, blocks, batch_size=batch_size, head=head))
            advance(1.0)
        return found
    sums = [Losses(blocks) for _ in changes]
    for batch in loss_batches(blocks, batch_size):
        part = batch.tokens / max(blocks.tokens, 1)
        marks = kept_layers(below, kept_bytes // max(1, _bytes(lm, batch.batch.input_ids)))
        with keeping(lm, marks) as kept:
            plain = batch.log_probs(lm, head)
        for item, layer, losses in zip(changes, first, sums, strict=True):
            start = max((mark for mark in marks if layer is not None and mark < layer), default=-1)
            with item.on(), _from(lm, start, kept):
                losses.add(batch, plain if layer is None else batch.log_probs(lm, head))
            advance(part)
    return [result_of(losses) for losses in sums]


def changed_perplexities(
    lm: LanguageModel,
    blocks: Mapping[str, Blocks],
    changes: Mapping[str, Sequence[Change]],
    known: MutableMapping[str, PerplexityResult],
    *,
    head: Head | None = None,
    advance: Callable[[float], None] = lambda amount: None,
) -> dict[str, list[PerplexityResult]]:
    """Perplexity of each language's text under its changes, and untouched where not known yet.

    Args:
        lm: A causal model.
        blocks: Text by language.
        changes: What is done in each language.
        known: Untouched perplexities by language; missing ones are put there.
        head: See :func:`perplexities`.
        advance: See :func:`perplexities`.

    Raises:
        InputError: See :func:`perplexities`.
        RunError: See :func:`perplexities`.
    """
    head = head or find_head(lm)
    found = {}
    for language, item in blocks.items():
        plain = [] if language in known else [Change(None, contextlib.nullcontext)]
        results = perplexities_of(
            lm, item, [*plain, *changes[language]], head=head, advance=advance
        )
        if plain:
            known[language] = results.pop(0)
        found[language] = results
    return found


def first_layer(intervention: Interventions) -> int | None:
    """The first layer that an intervention reads or writes; None where it touches no unit."""
    return min(
        (layer for item in as_interventions(intervention) for layer in item.touched), default=None
    )


def pays(lm: LanguageModel, first: Sequence[int | None]) -> bool:
    """Whether keeping costs less than it saves: layers left out against those of one more pass.

    Args:
        lm: The model.
        first: The first layer that each intervention touches; None where it touches none, whose
            result the untouched pass is.
    """
    saved = sum(lm.layers if layer is None else layer for layer in first)
    return saved > lm.layers and free_of_hooks(lm)


def kept_layers(below: Sequence[int], room: int) -> list[int]:
    """The layers whose outputs are kept: those right below the first touched ones, while they fit.

    Args:
        below: For each pass the last layer it may leave out.
        room: How many outputs fit into memory; where that is too few, the kept ones lie at equal
            shares of the passes.
    """
    needed = sorted(below)
    if len(set(needed)) <= room:
        return sorted(set(needed))
    return sorted({needed[number * len(needed) // room] for number in range(room)})


@contextlib.contextmanager
def _from(lm: LanguageModel, layer: int, kept: dict[int, Any]) -> Iterator[None]:
    """Begin passes behind ``layer``; with -1 at the beginning."""
    if layer < 0:
        yield
        return
    with resuming(lm, layer, kept[layer]):
        yield


def _bytes(lm: LanguageModel, input_ids: Tensor) -> int:
    """Bytes of one layer's output for a batch."""
    return input_ids.numel() * int(lm.config.hidden_size) * lm.dtype.itemsize


def _can_resume(lm: LanguageModel, head: Head, blocks: Blocks, below: Sequence[int]) -> bool:
    """Compare passes that begin behind the layers ``below`` with a whole one, once a layer."""
    known = _resumable.setdefault(lm.backbone, {})
    new = sorted(set(below) - known.keys(), reverse=True)  # from the shortest pass on
    if not new or not all(known.values()):
        return all(known.values())
    batch = next(loss_batches(blocks[:1]))
    with keeping(lm, new) as kept:
        plain = batch.log_probs(lm, head)
    for layer in new:
        try:
            with resuming(lm, layer, kept[layer]):
                known[layer] = torch.equal(plain, batch.log_probs(lm, head))
        except Exception:
            # Whatever a model keeps aside in the layers that were left out, it does not find.
            known[layer] = False
        if not known[layer]:
            return False
    return True
