"""Zero-shot answers: the label whose words the model finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from langneurons.data.tasks import ChoiceExample, encode_text, pad_id
from langneurons.errors import InputError, RunError
from langneurons.evaluation.batching import sequence_batches
from langneurons.evaluation.rows import label_row, max_positions
from langneurons.evaluation.token_loss import Head, find_head, token_log_probs

if TYPE_CHECKING:
    from langneurons.data.tasks import Example, Task
    from langneurons.models import LanguageModel
    from langneurons.progress import Bar


@dataclass(frozen=True)
class Continuation:
    """Token ids of which the last ``scored`` are scored.

    Attributes:
        ids: Context and continuation.
        scored: Number of tokens of the continuation.
        cut: Tokens left out at the beginning because the model cannot take them.
    """

    ids: list[int]
    scored: int
    cut: int


def encode_continuation(
    tokenizer: Any, prefix: str, continuation: str, max_length: int | None = None
) -> Continuation:
    """Tokenise a context with what follows it, as lm-evaluation-harness does.

    White space at the end of the context goes with the continuation. Both are tokenised together
    and what is longer than the context's own tokens is scored; an empty context is the begin (or
    end) token.

    Raises:
        InputError: If the continuation is empty or alone longer than the model can take.
    """
    spaces = len(prefix) - len(prefix.rstrip())
    if spaces:
        continuation = prefix[-spaces:] + continuation
        prefix = prefix[:-spaces]
    if prefix:
        whole = encode_text(tokenizer, prefix + continuation)
        start = len(encode_text(tokenizer, prefix))
    else:
        first = tokenizer.bos_token_id
        first = tokenizer.eos_token_id if first is None else first
        whole = tokenizer(continuation, add_special_tokens=False)["input_ids"]
        if not whole or whole[0] != first:
            whole = [first, *whole]
        start = 1
    scored = len(whole) - start
    if scored < 1:
        raise InputError(
            f"nothing to score in {continuation!r}, a label has no words: give it some."
        )
    cut = 0 if max_length is None else max(len(whole) - max_length, 0)
    if cut >= start:
        raise InputError(f"a label of {scored} tokens does not fit into {max_length}: shorten it.")
    return Continuation(whole[cut:], scored, cut)


def continuation_scores(
    lm: LanguageModel,
    items: Sequence[Continuation],
    *,
    batch_size: int | None = None,
    bar: Bar | None = None,
    head: Head | None = None,
) -> NDArray[np.float64]:
    """Summed natural log-probability of each continuation, float64 (items,).

    Raises:
        RunError: If one is not a number.
    """
    head = head or find_head(lm)
    found = np.zeros(len(items))
    sequences = [item.ids for item in items]
    for batch in sequence_batches(sequences, pad=pad_id(lm.tokenizer), batch_size=batch_size):
        on_device = batch.to(lm.device)
        wanted = torch.zeros_like(on_device.attention_mask, dtype=torch.bool)
        for row, place in enumerate(batch.index.tolist()):
            end = len(items[place].ids)
            wanted[row, end - items[place].scored : end] = True
        scores = token_log_probs(lm, head, on_device.input_ids, on_device.attention_mask, wanted)
        found[batch.index.numpy()] = scores.double().sum(1).cpu().numpy()
        if bar is not None:
            bar.advance(len(batch.index))
    if np.isnan(found).any():
        raise RunError(
            "the model's log-likelihoods are not numbers: the intervention's value or the adapter "
            "drove it out of range; choose a milder one or another dtype."
        )
    return found


class _PerExample:
    """Turns progress in continuations into progress in examples."""

    def __init__(self, bar: Bar, share: float) -> None:
        self._bar, self._share = bar, share

    def advance(self, amount: float = 1.0) -> None:
        self._bar.advance(amount * self._share)

    def skip(self, amount: float) -> None:
        self._bar.skip(amount * self._share)

    def note(self, text: str) -> None:
        self._bar.note(text)


def likelihood_rows(
    lm: LanguageModel,
    task: Task,
    lang: str,
    examples: Sequence[Example],
    *,
    batch_size: int | None,
    bar: Bar,
) -> list[dict[str, Any]]:
    """Rows of :class:`~langneurons.evaluation.scores.Scores` from verbalised labels or choices."""
    longest = max_positions(lm)
    options = [task.verbalised(example, lang) for example in examples]
    items = [
        encode_continuation(lm.tokenizer, prefix, text, longest)
        for choices in options
        for prefix, text in choices
    ]
    scores = continuation_scores(
        lm, items, batch_size=batch_size, bar=_PerExample(bar, len(examples) / max(len(items), 1))
    )
    rows, start = [], 0
    for example, choices in zip(examples, options, strict=True):
        stop = start + len(choices)
        labels = example.choices if isinstance(example, ChoiceExample) else task.labels
        cut = max(item.cut for item in items[start:stop])
        rows.append(label_row(example, labels, list(scores[start:stop]), cut=cut))
        start = stop
    return rows
