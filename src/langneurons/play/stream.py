"""Continuations of one prompt, token by token, as rows of one batch.

Each row has interventions of its own, which stand during the batch's own passes only: several runs
can take turns on one model, as no hook stays between two steps. A step of a small model costs what
it costs to read the weights, so three rows take hardly longer than one.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from langneurons.evaluation.token_loss import Head, hidden_log_probs
from langneurons.intervention import Intervention, intervene
from langneurons.models import hook_site
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.models import LanguageModel


class Fired:
    """Counts, token by token, how many neurons of each language are above 0.

    Args:
        neurons: The set.
    """

    def __init__(self, neurons: NeuronSet) -> None:
        self._site = neurons.site
        self._languages = len(neurons)
        self._sizes = torch.tensor([max(1, len(units)) for units in neurons.values()])
        self._places: dict[int, tuple[Tensor, Tensor]] = {}
        by_language = [units.by_layer(neurons.shape[0]) for units in neurons.values()]
        for layer in range(neurons.shape[0]):
            parts = [layers[layer] for layers in by_language]
            if sum(map(len, parts)):
                owner = torch.cat([torch.full_like(p, n) for n, p in enumerate(parts)])
                self._places[layer] = torch.cat(parts), owner

    @contextlib.contextmanager
    def counting(self, lm: LanguageModel, rows: int, tokens: int) -> Iterator[Tensor]:
        """Count in the forward pass of the block.

        Args:
            lm: The model.
            rows: Sequences in that pass.
            tokens: Tokens of each.

        Yields:
            Share of each language's neurons active, float32 (rows, tokens, languages), once the
            block is left.
        """
        shares = torch.zeros(rows, tokens, self._languages)

        def see(layer: int, activation: Tensor) -> None:
            index, owner = self._places[layer]
            above = (activation.index_select(-1, index.to(activation.device)) > 0).cpu()
            shares.index_add_(-1, owner, above.float().view(rows, tokens, -1))

        with hook_site(lm, self._site, see, list(self._places)):
            yield shares
        shares /= self._sizes


class Streams:
    """A prompt and its continuations, each under interventions of its own.

    Args:
        lm: A causal model.
        head: Its head, from ``find_head``.
        plans: For each continuation what is written over which units meanwhile, in order.
        neurons: The languages' neurons, to see which of them are active.
        ends: Ids that end a text.

    Attributes:
        done: For each continuation whether the model ended it.
    """

    def __init__(
        self,
        lm: LanguageModel,
        head: Head,
        plans: Sequence[Sequence[Intervention]],
        neurons: NeuronSet,
        ends: frozenset[int],
    ) -> None:
        self._lm, self._head, self._ends = lm, head, ends
        self._what = [
            item if len(plans) == 1 else replace(item, rows=(row,))
            for row, plan in enumerate(plans)
            for item in plan
        ]
        self._fired = Fired(neurons)
        self._cache: Any = DynamicCache(config=lm.config)
        taken = inspect.signature(lm.backbone.forward).parameters
        self._cache_name = "cache" if "cache" in taken else "past_key_values"
        self._length = 0
        self._log_probs = torch.zeros(0)
        self.done = [False for _ in plans]

    def read(self, ids: Sequence[int]) -> list[list[tuple[float | None, list[float]]]]:
        """Run the prompt.

        Returns:
            For each continuation and token of the prompt its loss in nats (None for the first) and
            the share of each language's neurons active at it, after the intervention.
        """
        given = torch.tensor([list(ids)] * len(self.done), device=self._lm.device)
        hidden, shares = self._pass(given)
        scored = self._score(hidden[:, :-1], given[:, 1:]).tolist()
        return [
            list(zip([None, *(-one for one in line)], active, strict=True))
            for line, active in zip(scored, shares, strict=True)
        ]

    def choose(self, noise: Tensor | None) -> list[tuple[int, float] | None]:
        """The next token of each continuation and its loss in nats, None where it has ended.

        Args:
            noise: What is added to the log-probabilities before the largest is taken (Gumbel noise
                times a temperature draws from the distribution at that temperature); None takes
                the likeliest token.
        """
        scores = self._log_probs if noise is None else self._log_probs + noise
        tokens = scores.argmax(dim=-1).tolist()
        self.done = [
            done or token in self._ends for done, token in zip(self.done, tokens, strict=True)
        ]
        return [
            None if done else (token, -float(row[token]))
            for done, token, row in zip(self.done, tokens, self._log_probs, strict=True)
        ]

    def feed(self, tokens: Sequence[int]) -> list[list[float]]:
        """Run one token of each; the share of each language's neurons active at it.

        A continuation that has ended takes any token: its row goes along unread.
        """
        _, shares = self._pass(torch.tensor(tokens, device=self._lm.device)[:, None])
        return [line[0] for line in shares]

    def _pass(self, ids: Tensor) -> tuple[Tensor, list[list[list[float]]]]:
        """Last hidden states (logits of a head with no known end), and the shares active."""
        rows, tokens = ids.shape
        self._length += tokens
        mask = torch.ones(rows, self._length, dtype=torch.int64, device=ids.device)
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            self._cache_name: self._cache,
            "use_cache": True,
        }
        with (
            torch.no_grad(),
            intervene(self._lm, self._what or None),
            self._fired.counting(self._lm, rows, tokens) as shares,  # last: sees what was written
        ):
            if self._head.finish is None:
                found = logits = plain_model(self._lm.model)(**inputs).logits
                logits = logits[:, -1]
            else:
                found = self._lm.backbone(**inputs).last_hidden_state
                logits = self._head.finish(self._head.module(found[:, -1]))
            self._log_probs = functional.log_softmax(logits.float(), dim=-1).cpu()
        return found, shares.tolist()

    def _score(self, found: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities (rows, tokens) of tokens from what a pass found before them."""
        with torch.no_grad():
            if self._head.finish is None:
                scores = functional.log_softmax(found.float(), dim=-1)
                return scores.gather(-1, target[..., None])[..., 0]
            flat = hidden_log_probs(self._head, found.flatten(0, 1), target.flatten())
            return flat.view(target.shape)
