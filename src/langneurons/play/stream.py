"""One continuation, token by token, under an intervention that stands during its own passes only.

Several streams can run on one model in turn, as no hook stays between two steps.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from langneurons.evaluation.token_loss import Head, token_log_probs
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
        self._counts = torch.zeros(0)

    @contextlib.contextmanager
    def counting(self, lm: LanguageModel) -> Iterator[None]:
        """Count in the forward pass of the block (one sequence)."""
        self._counts = torch.zeros(0)

        def see(layer: int, activation: Tensor) -> None:
            index, owner = self._places[layer]
            above = (activation[0].index_select(-1, index.to(activation.device)) > 0).cpu()
            if not len(self._counts):
                self._counts = torch.zeros(len(above), self._languages)
            self._counts.index_add_(1, owner, above.float())

        with hook_site(lm, self._site, see, list(self._places)):
            yield

    def shares(self, tokens: int) -> list[list[float]]:
        """Of the last pass: a row a token with the share of each language's neurons active."""
        if not len(self._counts):
            return [[0.0] * self._languages] * tokens
        rows: list[list[float]] = (self._counts / self._sizes).tolist()
        return rows


class Stream:
    """A prompt and its continuation under an intervention.

    Args:
        lm: A causal model.
        head: Its head, from ``find_head``.
        what: What is written over which units meanwhile, in order.
        neurons: The languages' neurons, to see which of them are active.
        ends: Ids that end a text.
    """

    def __init__(
        self,
        lm: LanguageModel,
        head: Head,
        what: Sequence[Intervention],
        neurons: NeuronSet,
        ends: frozenset[int],
    ) -> None:
        self._lm, self._head, self._what, self._ends = lm, head, list(what), ends
        self._fired = Fired(neurons)
        self._cache: Any = DynamicCache(config=lm.config)
        taken = inspect.signature(lm.backbone.forward).parameters
        self._cache_name = "cache" if "cache" in taken else "past_key_values"
        self._length = 0
        self._hidden: Tensor | None = None
        self._log_probs = torch.zeros(0)
        self.done = False

    def read(self, ids: Sequence[int]) -> list[tuple[float | None, list[float]]]:
        """Run the prompt.

        Returns:
            For each token its loss in nats (None for the first) and the share of each language's
            neurons active at it, after the intervention.
        """
        given = torch.tensor([list(ids)], device=self._lm.device)
        mask = torch.ones_like(given)
        wanted = mask.bool().clone()
        wanted[:, 0] = False
        with intervene(self._lm, self._what or None):
            scored = token_log_probs(self._lm, self._head, given, mask, wanted)[0].tolist()
        shares = self._pass(given)
        losses = [None, *(-one for one in scored[1:])]
        return list(zip(losses, shares, strict=True))

    @staticmethod
    def predict(streams: Sequence[Stream]) -> None:
        """Work out what each stream expects next: once after its tokens were read.

        The head runs once for all of them: in a small model with a large vocabulary it is most of
        the weights, and reading those is what a step costs.
        """
        waiting = [stream for stream in streams if stream._hidden is not None]
        if not waiting:
            return
        head = waiting[0]._head
        assert head.finish is not None
        hidden = torch.stack([stream._hidden for stream in waiting if stream._hidden is not None])
        with torch.no_grad():
            logits = head.finish(head.module(hidden))
            scores = functional.log_softmax(logits.float(), dim=-1).cpu()
        for stream, row in zip(waiting, scores, strict=True):
            stream._log_probs, stream._hidden = row, None

    def choose(self, noise: Tensor | None) -> tuple[int, float] | None:
        """The next token and its loss in nats, or None where the model ends the text.

        Args:
            noise: What is added to the log-probabilities before the largest is taken (Gumbel noise
                times a temperature draws from the distribution at that temperature); None takes
                the likeliest token.
        """
        scores = self._log_probs if noise is None else self._log_probs + noise
        token = int(scores.argmax())
        if token in self._ends:
            self.done = True
            return None
        return token, -float(self._log_probs[token])

    def feed(self, token: int) -> list[float]:
        """Run one token; the share of each language's neurons active at it."""
        return self._pass(torch.tensor([[token]], device=self._lm.device))[0]

    def _pass(self, ids: Tensor) -> list[list[float]]:
        self._length += ids.shape[1]
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones(1, self._length, dtype=torch.int64, device=ids.device),
            self._cache_name: self._cache,
            "use_cache": True,
        }
        with (
            torch.no_grad(),
            intervene(self._lm, self._what or None),
            self._fired.counting(self._lm),  # entered last: it sees what was written
        ):
            if self._head.finish is None:
                logits = plain_model(self._lm.model)(**inputs).logits[0, -1]
                self._log_probs = functional.log_softmax(logits.float(), dim=-1).cpu()
            else:
                self._hidden = self._lm.backbone(**inputs).last_hidden_state[0, -1]
        return self._fired.shares(ids.shape[1])
