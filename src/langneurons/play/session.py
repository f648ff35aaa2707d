"""A model with its language neurons, played with: plain values in, plain values out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langneurons.data.tasks import encode_text
from langneurons.errors import InputError, RunError
from langneurons.evaluation.rows import max_positions
from langneurons.evaluation.token_loss import Head, find_head
from langneurons.models.plain import plain_model
from langneurons.play.change import Change, interventions
from langneurons.play.naming import name_language
from langneurons.play.stream import Streams
from langneurons.play.text import Piece, Text
from langneurons.reporting.nouns import many

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.intervention import Intervention
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

MOST_PROMPT = 512
"""Longest prompt in tokens: a page is for looking, not for books."""
MOST_WRITTEN = 256
"""Longest continuation in tokens."""


@dataclass(frozen=True)
class Column:
    """One continuation as it stands.

    Attributes:
        title: What was done to the model.
        kind: ``plain``, ``own`` (the languages' neurons) or ``control`` (the others).
        pieces: Prompt and continuation.
        language: What the continuation is written in, in words; empty while there is none.
        prompt_loss: Mean loss of the prompt's tokens in nats; None of a prompt of one token.
        done: Whether the model ended the text.
    """

    title: str
    kind: str
    pieces: tuple[Piece, ...]
    language: str
    prompt_loss: float | None
    done: bool

    @property
    def text(self) -> str:
        """The continuation."""
        return "".join(piece.text for piece in self.pieces if piece.written)


@dataclass(frozen=True)
class Frame:
    """All continuations at one moment.

    Attributes:
        columns: Side by side.
        languages: Languages of the neuron set, in the order of ``Piece.active``.
        written: Tokens written in each column.
        seconds: Since the first of them was begun.
        last: Whether nothing follows.
        note: What a reader has to know of the control.
    """

    columns: tuple[Column, ...]
    languages: tuple[str, ...]
    written: int
    seconds: float
    last: bool
    note: str = ""


class Session:
    """A model, the neurons of its languages, and statistics for values and controls.

    Args:
        lm: A causal model.
        neurons: A set found in this model.
        statistics: Statistics of this model; without them neurons can be switched off or
            multiplied only, and controls are random units of the same layers.

    Raises:
        InputError: If neurons or statistics belong to another model, the set is empty, or the model
            cannot write.
    """

    def __init__(
        self, lm: LanguageModel, neurons: NeuronSet, statistics: Statistics | None = None
    ) -> None:
        neurons.check(lm)
        if not any(len(units) for units in neurons.values()):
            raise InputError("the neuron set holds no unit: identify with other parameters.")
        if statistics is not None:
            theirs = (statistics.model or {}).get("sha256")
            if statistics.shape != neurons.shape or statistics.site != neurons.site:
                raise InputError(
                    f"the statistics are of {statistics.site}, {statistics.shape[0]} x "
                    f"{statistics.shape[1]}, the neurons of {neurons.site}, {neurons.shape[0]} x "
                    f"{neurons.shape[1]}: take the statistics that the neurons were found in."
                )
            if theirs is not None and theirs != lm.fingerprint["sha256"]:
                raise InputError(
                    f"the statistics are of other weights than {lm.name}: collect on this model."
                )
        self.lm, self.neurons, self.statistics = lm, neurons, statistics
        self._head: Head = find_head(lm)
        self._lock = threading.Lock()

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the neuron set."""
        return self.neurons.languages

    @property
    def known(self) -> tuple[str, ...]:
        """Languages that have statistics."""
        return () if self.statistics is None else self.statistics.languages

    @cached_property
    def _ends(self) -> frozenset[int]:
        own = getattr(plain_model(self.lm.model).generation_config, "eos_token_id", None)
        found = own if own is not None else self.lm.tokenizer.eos_token_id
        found = [] if found is None else found if isinstance(found, list | tuple) else [found]
        return frozenset(int(token) for token in found)

    def control(self, seed: int) -> tuple[NeuronSet, str]:
        """Random units beside the languages' own, and what they are, in a word.

        Of the same number in each layer, active as often in the language where statistics say how
        often (``random_like``).
        """
        known = self.statistics
        if known is not None and set(self.neurons) <= set(known.languages):
            drawn = self.neurons.random_like(seed, matched="rate", statistics=known)
            return drawn, "equally active"
        return self.neurons.random_like(seed), "random"

    def run(
        self,
        prompt: str,
        change: Change,
        *,
        tokens: int = 60,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[Frame]:
        """Continue a prompt with and without the change, and with it on random units.

        All columns take the same random numbers, so that they differ by the change alone. The model
        is free between two frames; closing the generator stops the writing.

        Args:
            prompt: The beginning of a text, in any language.
            change: What happens to which languages' neurons; without languages there is one column.
            tokens: Longest continuation.
            temperature: 0 takes the likeliest token, above it draws.
            seed: Of the control units and of drawn tokens.

        Yields:
            A frame when the prompt is read and after every token.

        Raises:
            InputError: If a value cannot be used; before anything is run.
            RunError: If the model's numbers are none.
        """
        ids = self._encode(prompt, tokens, temperature)
        plans = self._plans(change, seed)
        note = self._note(change)
        streams = Streams(
            self.lm, self._head, [what for _, _, what in plans], self.neurons, self._ends
        )
        texts = [Text(self.lm.tokenizer) for _ in plans]
        losses: list[float | None] = []
        with self._lock:
            read = streams.read(ids)
        for text, line in zip(texts, read, strict=True):
            for token, (loss, active) in zip(ids, line, strict=True):
                text.add(token, loss, active, written=False)
            known = [loss for loss, _ in line if loss is not None]
            losses.append(sum(known) / len(known) if known else None)

        def frame(written: int, last: bool) -> Frame:
            columns = tuple(
                Column(
                    title,
                    kind,
                    tuple(text.pieces),
                    self._name(text.written, last),
                    loss,
                    done,
                )
                for (title, kind, _), text, done, loss in zip(
                    plans, texts, streams.done, losses, strict=True
                )
            )
            seconds = time.monotonic() - start
            return Frame(columns, self.languages, written, seconds, last, note)

        start = time.monotonic()
        yield frame(0, False)
        generator = torch.Generator().manual_seed(seed)
        written = 0
        while written < tokens and not all(streams.done):
            chosen = streams.choose(self._noise(temperature, generator))
            if any(one is not None and one[1] != one[1] for one in chosen):
                raise RunError("the model's numbers are none any more: choose a milder change.")
            if not all(streams.done):
                with self._lock:
                    fed = streams.feed([ids[-1] if one is None else one[0] for one in chosen])
                for text, one, active in zip(texts, chosen, fed, strict=True):
                    if one is not None:
                        text.add(*one, active, written=True)
            written += 1
            yield frame(written, False)
        for text in texts:
            text.finish()
        yield frame(written, True)

    def _encode(self, prompt: str, tokens: int, temperature: float) -> list[int]:
        if not prompt.strip():
            raise InputError("there is no prompt: write the beginning of a text.")
        if not 1 <= tokens <= MOST_WRITTEN:
            raise InputError(f"the length must lie within 1 to {MOST_WRITTEN} tokens.")
        if not 0 <= temperature <= 2:
            raise InputError("the temperature must lie within 0 to 2.")
        ids = encode_text(self.lm.tokenizer, prompt)
        if not ids:
            raise InputError("the tokenizer makes no token of this prompt: write another.")
        limit = max_positions(self.lm)
        room = MOST_PROMPT if limit is None else min(MOST_PROMPT, limit - tokens)
        if len(ids) > room:
            raise InputError(
                f"the prompt has {len(ids)} tokens, there is room for {max(0, room)}: shorten it "
                "or ask for a shorter continuation."
            )
        return ids

    def _plans(self, change: Change, seed: int) -> list[tuple[str, str, list[Intervention]]]:
        plans: list[tuple[str, str, list[Intervention]]] = [("The model as it is", "plain", [])]
        if change.languages:
            names = " + ".join(change.languages)
            own = interventions(change, self.neurons, self.statistics)
            drawn, kind = self.control(seed)
            other = interventions(change, drawn, self.statistics)
            count = sum(len(item.chosen) for item in own)
            plans += [
                (f"{count} {many(self.neurons.site)} of {names}: {change.words}", "own", own),
                (f"{count} {kind} others: {change.words}", "control", other),
            ]
        return plans

    def _note(self, change: Change) -> str:
        if not change.languages:
            return "No language is chosen: the model as it is."
        _, kind = self.control(0)
        if kind == "random":
            return (
                "There are no statistics of all languages: the others are random units of the same "
                "layers, whatever their activity."
            )
        return ""

    def _noise(self, temperature: float, generator: torch.Generator) -> Tensor | None:
        if temperature == 0:
            return None
        uniform = torch.rand(self._vocabulary, generator=generator).clamp(1e-20, 1 - 1e-7)
        return -torch.log(-torch.log(uniform)) * temperature

    @cached_property
    def _vocabulary(self) -> int:
        return len(self._head.module.weight)  # type: ignore[arg-type]

    def _name(self, text: str, last: bool) -> str:
        # lingua takes a moment: asked once, at the end.
        return name_language(text, self.languages if last else ()) if text else ""
