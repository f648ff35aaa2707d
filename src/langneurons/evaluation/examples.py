"""Task examples as the model sees them: a site's activations, and the loss of the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.data.tasks import (
    Example,
    NLIExample,
    QAExample,
    Task,
    encode_examples,
    pad_id,
)
from langneurons.errors import InputError
from langneurons.evaluation.batching import sequence_batches
from langneurons.evaluation.likelihood import Continuation, continuation_scores, encode_continuation
from langneurons.evaluation.rows import max_positions
from langneurons.evaluation.token_loss import Head
from langneurons.evaluation.touched import Interventions, intervened
from langneurons.models import hook_site
from langneurons.progress import track
from langneurons.statistics.forward import run_backbone

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

Pool = Literal["last", "mean"]
_BATCH_TOKENS = 2048


def example_activations(
    lm: LanguageModel,
    task: Task,
    examples: Sequence[Example],
    site: str = "mlp.act",
    pool: Pool = "last",
) -> Tensor:
    """A site's activations for each example's input text.

    Args:
        lm: The model.
        task: The task, which writes the input.
        examples: The examples.
        site: The site.
        pool: ``"last"``: at the last token, where the answer is made; ``"mean"``: over its tokens
            without special ones.

    Returns:
        float32 (examples, layers, units).
    """
    longest = max_positions(lm)
    ids = [item.ids for item in encode_examples(task, examples, lm.tokenizer, longest)]
    special = torch.tensor(sorted(lm.special_ids), dtype=torch.int64)
    found = torch.zeros(len(ids), lm.layers, lm.sites[site].width)
    with track(f"{task.name} activations", len(ids), "examples") as bar:
        for batch in sequence_batches(ids, pad=pad_id(lm.tokenizer), batch_tokens=_BATCH_TOKENS):
            mask = batch.attention_mask.bool()
            kept = _weights(batch.input_ids, mask, special, pool)

            def keep(layer: int, value: Tensor, index: Tensor = batch.index,
                     kept: Tensor = kept) -> None:  # fmt: skip
                weights = kept.to(value.device, torch.float32)
                found[index, layer] = torch.einsum("bt,btu->bu", weights, value.float()).cpu()

            with torch.no_grad(), hook_site(lm, site, keep):
                run_backbone(lm, batch.input_ids, mask)
            bar.advance(len(batch.index))
    return found


def _weights(ids: Tensor, mask: Tensor, special: Tensor, pool: Pool) -> Tensor:
    """Weight of each token in its example's pooled activation, (b, t), rows summing to 1."""
    if pool == "last":
        last = mask.sum(1) - 1
        return torch.nn.functional.one_hot(last, mask.shape[1]).float()
    kept = (mask & ~torch.isin(ids, special)).float()
    return kept / kept.sum(1, keepdim=True).clamp(min=1)


def labels_of(task: Task, examples: Sequence[Example]) -> NDArray[np.int64]:
    """Gold label of each example.

    Raises:
        InputError: If the task has no classes, or an example no label.
    """
    labels = [item.label for item in examples if isinstance(item, NLIExample)]
    if len(labels) < len(examples) or any(label < 0 for label in labels):
        raise InputError(
            f"{task.name} has no class label for every example: take a task of classes."
        )
    return np.asarray(labels, dtype=np.int64)


class AnswerLoss:
    """Loss of the right answer of each example, in nats, with or without an intervention.

    Of classes: -ln of the right label's share among the verbalised labels (the softmax of their
    log-likelihoods). Of questions: -ln P(first gold answer) per token of it. Encoded once, for
    hundreds of interventions.

    Args:
        lm: A causal model.
        task: The task.
        language: Language of the label words.
        examples: The examples.
        head: The model's head.
    """

    def __init__(
        self, lm: LanguageModel, task: Task, language: str, examples: Sequence[Example], head: Head
    ) -> None:
        self._lm, self._head = lm, head
        self._items: list[Continuation] = []
        self._choices: list[int] = []
        self._gold: list[int] = []
        longest = max_positions(lm)
        for example in examples:
            if isinstance(example, QAExample):
                pairs: Sequence[tuple[str, str]] = [(task.encode(example), task.target(example))]
                self._gold.append(0)
            else:
                pairs = task.verbalised(example, language)
                self._gold.append(int(labels_of(task, [example])[0]))
            self._items += [encode_continuation(lm.tokenizer, *pair, longest) for pair in pairs]
            self._choices.append(len(pairs))

    def __call__(self, intervention: Interventions = None) -> NDArray[np.float64]:
        """Loss of each example, float64 (examples,)."""
        with intervened(self._lm, intervention):
            scores = continuation_scores(self._lm, self._items, head=self._head)
        losses, start = [], 0
        for count, gold in zip(self._choices, self._gold, strict=True):
            part = scores[start : start + count]
            if count == 1:
                losses.append(-part[0] / self._items[start].scored)
            else:
                losses.append(float(np.logaddexp.reduce(part) - part[gold]))
            start += count
        return np.asarray(losses, dtype=np.float64)
