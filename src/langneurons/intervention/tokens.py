"""Which tokens of the running forward pass an intervention touches."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from langneurons.errors import InputError

if TYPE_CHECKING:
    from langneurons.intervention.interventions import Intervention
    from langneurons.models import LanguageModel

_GOLDEN, _FACTOR = 0x9E3779B97F4A7C15, 0x632BE59BD9B4E019


@dataclass(frozen=True)
class Tokens:
    """The tokens of one forward pass.

    Attributes:
        ids: Token ids (batch, sequence), or None where embeddings were given.
        positions: Position of each token in its sequence, from its first real token, int64
            (batch, sequence) or (1, sequence); padding in front counts below 0.
        real: Whether a token is no padding, bool (batch, sequence), or None for all.
        past: Tokens in the key-value cache before this pass.
    """

    ids: Tensor | None
    positions: Tensor
    real: Tensor | None
    past: int

    @property
    def length(self) -> int:
        """Tokens per sequence in this pass."""
        return int(self.positions.shape[1])

    @property
    def generating(self) -> bool:
        """Whether the pass is a step of generation: one token against a filled cache."""
        return self.past > 0 and self.length == 1


def select(tokens: Tokens, intervention: Intervention) -> Tensor | bool:
    """Tokens that ``intervention`` touches: True for all, False for none, or a bool mask.

    The mask has shape (batch, sequence) or (1, sequence).
    """
    scope = intervention.scope
    if scope == "prompt" and tokens.generating:
        return False
    if scope == "generated" and not tokens.generating:
        return False
    if intervention.probability == 0:
        return False
    masks: list[Tensor] = []
    if scope == "padding" and tokens.real is None:
        return False
    if scope in ("text", "padding") and tokens.real is not None:
        masks.append(tokens.real if scope == "text" else ~tokens.real)
    if scope == "rest" and tokens.length == 1:
        return False
    if scope in ("last", "rest") and tokens.length > 1:
        last = _last(tokens)
        masks.append(last if scope == "last" else ~last)
    if intervention.start > 0:
        masks.append(tokens.positions >= intervention.start)
    if intervention.probability < 1:
        masks.append(_drawn(tokens, intervention.probability, intervention.seed))
    if not masks:
        return True
    chosen = masks[0]
    for mask in masks[1:]:
        chosen = chosen & mask
    return chosen


def _last(tokens: Tokens) -> Tensor:
    order = torch.arange(tokens.length, device=tokens.positions.device)
    if tokens.real is None:
        return (order == tokens.length - 1).unsqueeze(0)
    last = (order * tokens.real).amax(dim=1, keepdim=True)
    return order == last


def _drawn(tokens: Tokens, probability: float, seed: int) -> Tensor:
    if tokens.ids is None:
        raise InputError("an intervention with a probability needs token ids, not embeddings.")
    # SplitMix64's finaliser on wrapping int64: uniform bits from seed, position and token.
    start = _signed((seed + 1) * _GOLDEN)
    mixed = tokens.ids.long() * _signed(_FACTOR) + tokens.positions + start
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
    """Holds the tokens of the running forward pass; filled by a hook on the decoder."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self._signature = inspect.signature(lm.decoder.forward)
        self._tokens: Tokens | None = None
        self._chosen: dict[int, Tensor | bool] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Follow the forward passes of the block."""
        handle = self._lm.decoder.register_forward_pre_hook(self._see, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def selection(self, intervention: Intervention) -> Tensor | bool:
        """What ``intervention`` touches in the running pass; worked out once for all layers."""
        if self._tokens is None:
            return False
        key = id(intervention)
        if key not in self._chosen:
            self._chosen[key] = select(self._tokens, intervention)
        return self._chosen[key]

    def _see(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given = {**given, **given.get("kwargs", {})}
        self._chosen.clear()
        self._tokens = read_tokens(given)


def read_tokens(given: dict[str, Any]) -> Tokens:
    """The tokens of a forward pass from the decoder's arguments."""
    ids, embeddings = given.get("input_ids"), given.get("inputs_embeds")
    shape = (ids if ids is not None else embeddings).shape[:2]  # type: ignore[union-attr]
    device = (ids if ids is not None else embeddings).device  # type: ignore[union-attr]
    # Known by what it can do: its name has changed between versions and families.
    cache = next((value for value in given.values() if hasattr(value, "get_seq_length")), None)
    past = 0 if cache is None else int(cache.get_seq_length())
    length = int(shape[1])
    mask = given.get("attention_mask")
    real: Tensor | None = None
    if isinstance(mask, Tensor) and mask.ndim == 2:
        seen = mask[:, : past + length].bool()
        positions = seen.long().cumsum(1)[:, -length:] - 1
        real = seen[:, -length:]
    elif isinstance(given.get("position_ids"), Tensor):
        positions = given["position_ids"].reshape(-1, length)
    else:
        positions = torch.arange(past, past + length, device=device).unsqueeze(0)
    return Tokens(ids, positions, real, past)
