"""Which tokens of the running forward pass an intervention touches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.models.passes import Pass, follow_passes

if TYPE_CHECKING:
    from langneurons.intervention.interventions import Change
    from langneurons.models import LanguageModel

_GOLDEN, _FACTOR = 0x9E3779B97F4A7C15, 0x632BE59BD9B4E019


@dataclass(frozen=True)
class Tokens:
    """The tokens of one forward pass.

    Attributes:
        given: The arguments of the pass.
    """

    given: Pass

    @property
    def length(self) -> int:
        """Tokens per sequence in this pass."""
        return self.given.shape[1]

    @cached_property
    def real(self) -> Tensor | None:
        """Whether a token is no padding, bool (batch, sequence), or None for all."""
        mask = self.given.mask
        return None if mask is None else mask[:, -self.length :]

    @cached_property
    def columns(self) -> Tensor:
        """Column of each token in the whole sequence, cached ones counted, int64 (sequence,)."""
        stop = self.given.past + self.length
        return torch.arange(self.given.past, stop, device=self.given.device)

    @cached_property
    def packed(self) -> bool:
        """Whether the position ids restart within a row: several sequences lie in it."""
        ids = self.given.position_ids
        if ids is None or self.length < 2:
            return False
        again = ids.diff(dim=1) <= 0
        if self.real is not None:
            again = again & (self.real[:, 1:] & self.real[:, :-1]).to(again.device)
        return bool(again.any())

    @cached_property
    def positions(self) -> Tensor:
        """Position of each token in its sequence, from its first real token.

        int64 (batch, sequence) or (1, sequence); -1 at padding.
        """
        ids, mask = self.given.position_ids, self.given.mask
        if ids is not None and (self.packed or mask is None):
            positions = ids.long()
        elif mask is not None:
            positions = mask.long().cumsum(1)[:, -self.length :] - 1
        else:
            positions = self.columns.unsqueeze(0)
        return positions if self.real is None else positions.where(self.real, -1)

    @property
    def generated(self) -> bool | Tensor:
        """Which tokens were generated, all or none or bool (1, sequence).

        Under ``generate`` the prompt is known, with or without a cache; outside it a step of one
        token against a filled cache counts as generated.
        """
        if self.given.prompt is None:
            return self.given.past > 0 and self.length == 1
        first = self.given.prompt - self.given.past
        if first <= 0 or first >= self.length:
            return first <= 0
        return (self.columns >= self.given.prompt).unsqueeze(0)

    @cached_property
    def last(self) -> Tensor:
        """The last real token of each sequence, bool (batch, sequence) or (1, sequence).

        Under ``generate`` the last real token of the prompt and every generated one, whether the
        pass runs them one by one against a cache or all again.
        """
        mask, prompt, columns = self.given.mask, self.given.prompt, self.columns
        if self.packed:
            ends = torch.ones_like(self.positions, dtype=torch.bool)
            ends[:, :-1] = self.positions.diff(dim=1) <= 0
            if self.real is None:
                return ends
            real = self.real.to(ends.device)
            ends[:, :-1] |= ~real[:, 1:]
            return ends & real
        stop = self.given.past + self.length if prompt is None else prompt
        if mask is None:
            ends = columns == stop - 1
            return (ends if prompt is None else ends | (columns >= prompt)).unsqueeze(0)
        columns = columns.to(mask.device)
        order = torch.arange(mask.shape[1], device=mask.device)
        within = order < stop
        if prompt is None:
            within &= order >= self.given.past
        ends = columns == (order * (mask & within)).amax(dim=1, keepdim=True)
        if prompt is not None:
            ends = ends | (columns >= prompt)
        # A row of padding alone has no last token, except in a step of one token.
        return ends & mask[:, -self.length :] if self.length > 1 else ends


def select(tokens: Tokens, intervention: Change) -> Tensor | bool:
    """Tokens that ``intervention`` touches: True for all, False for none, or a bool mask.

    The mask has shape (batch, sequence) or (1, sequence).

    Raises:
        InputError: If which tokens these are cannot be known.
    """
    scope = intervention.scope
    if intervention.probability == 0:
        return False
    _check(tokens.given, intervention)
    masks: list[Tensor | bool] = []
    match scope:
        case "prompt":
            masks.append(_not(tokens.generated))
        case "generated":
            masks.append(tokens.generated)
        case "text" if tokens.real is not None:
            masks.append(tokens.real)
        case "padding":
            masks.append(False if tokens.real is None else ~tokens.real)
        case "last" | "rest":
            one = tokens.length == 1 and tokens.given.prompt is None
            last: Tensor | bool = True if one else tokens.last
            masks.append(last if scope == "last" else _not(last))
    if intervention.start > 0:
        masks.append(tokens.positions >= intervention.start)
    if intervention.probability < 1:
        masks.append(_drawn(tokens, intervention.probability, intervention.seed))
    if intervention.rows is not None:
        masks.append(_of_rows(tokens, intervention.rows))
    if any(mask is False for mask in masks):
        return False
    several = [mask for mask in masks if isinstance(mask, Tensor)]
    if not several:
        return True
    chosen = several[0]
    for mask in several[1:]:
        chosen = chosen & mask.to(chosen.device)
    return chosen


def _not(chosen: Tensor | bool) -> Tensor | bool:
    return ~chosen if isinstance(chosen, Tensor) else not chosen


def _of_rows(tokens: Tokens, rows: tuple[int, ...]) -> Tensor:
    batch, length = tokens.given.shape
    if max(rows) >= batch:
        raise InputError(
            f"there is no row {max(rows)} in a batch of {batch}: choose rows from 0 to {batch - 1}."
        )
    mask = torch.zeros(batch, length, dtype=torch.bool, device=tokens.given.device)
    mask[list(rows)] = True
    return mask


def _check(given: Pass, intervention: Change) -> None:
    """Refuse what needs to know padding or positions where the pass does not say."""
    placed = intervention.start > 0 or intervention.probability < 1
    padded = intervention.scope in ("text", "padding", "last", "rest")
    if given.mask_unknown and (padded or (placed and given.position_ids is None)):
        raise InputError(
            f"{intervention.name!r} needs to know which tokens are padding, and the model was "
            f"given an attention mask {given.mask_unknown}: pass one of shape (batch, sequence), "
            "or use scope='all'."
        )
    if given.chunk and intervention.scope in ("last", "rest"):
        raise InputError(
            f"{intervention.name!r} needs to know where the prompt ends, and generate runs it in "
            "pieces: leave out prefill_chunk_size."
        )


def _drawn(tokens: Tokens, probability: float, seed: int) -> Tensor:
    ids = tokens.given.ids
    if ids is None:
        raise InputError("an intervention with a probability needs token ids, not embeddings.")
    # SplitMix64's finaliser on wrapping int64: uniform bits from seed, position and token.
    start = _signed((seed + 1) * _GOLDEN)
    mixed = ids.long() * _signed(_FACTOR) + tokens.positions.to(ids.device) + start
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ _shift(mixed, shift)) * _signed(factor)
    mixed = mixed ^ _shift(mixed, 31)
    return (mixed & ((1 << 53) - 1)).double() / (1 << 53) < probability


def _shift(values: Tensor, bits: int) -> Tensor:
    """Logical shift to the right (PyTorch's own keeps the sign)."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


class Watch:
    """Holds the tokens of the running forward pass."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self._tokens: Tokens | None = None
        self._chosen: dict[int, Tensor | bool] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Follow the forward passes of the block."""
        with follow_passes(self._lm, self._see):
            yield

    def selection(self, intervention: Change) -> Tensor | bool:
        """What ``intervention`` touches in the running pass; worked out once for all layers.

        Raises:
            InputError: If a layer runs outside the model.
        """
        if self._tokens is None:
            raise InputError(
                f"{intervention.name!r} touches some tokens only, and a layer runs outside the "
                "model, where nothing says what the tokens are: run the model, or use scope='all'."
            )
        key = id(intervention)
        if key not in self._chosen:
            self._chosen[key] = select(self._tokens, intervention)
        return self._chosen[key]

    def _see(self, given: Pass) -> None:
        self._chosen.clear()
        self._tokens = Tokens(given)
