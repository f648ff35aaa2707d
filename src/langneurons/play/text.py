"""Tokens as they come, in pieces that can be shown: whole characters, each with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

BROKEN = "\ufffd"
"""What an unfinished character decodes to."""
MOST_TOKENS = 8
"""A character of more tokens than this is shown as it is: the bytes are no UTF-8."""


@dataclass(frozen=True)
class Piece:
    """Shown text: a token, or several that make one character together.

    Attributes:
        text: The text.
        loss: Negative log-probability in nats, summed over its tokens; None where nothing stood
            before it.
        tokens: How many tokens it has.
        active: Share of each language's neurons that were active, mean over its tokens.
        written: Whether the model wrote it.
    """

    text: str
    loss: float | None
    tokens: int
    active: tuple[float, ...]
    written: bool


@dataclass
class Text:
    """A growing text.

    Attributes:
        tokenizer: Decodes tokens.
        pieces: What can be shown.
    """

    tokenizer: Any
    pieces: list[Piece] = field(default_factory=list)
    _ids: list[int] = field(default_factory=list)
    _shown: str = ""
    _written: bool = False
    _waiting: list[tuple[float | None, tuple[float, ...]]] = field(default_factory=list)

    def add(self, token: int, loss: float | None, active: Sequence[float], written: bool) -> None:
        """Add one token.

        Args:
            token: Its id.
            loss: Its negative log-probability, None for the first.
            active: Share of each language's neurons active at it.
            written: Whether the model wrote it.
        """
        if written != self._written:
            self.finish()  # a prompt that ends within a character
        self._written = written
        self._ids.append(token)
        self._waiting.append((loss, tuple(active)))
        text = self.tokenizer.decode(
            self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        if not text.endswith(BROKEN) or len(self._waiting) >= MOST_TOKENS:
            self._show(text, written)

    def finish(self) -> None:
        """Show what still waits for the rest of its character: nothing follows."""
        if self._waiting:
            text = self.tokenizer.decode(
                self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            self._show(text, self._written)

    def _show(self, text: str, written: bool) -> None:
        new = text[len(self._shown) :]
        waiting, self._waiting, self._shown = self._waiting, [], text
        if not new:
            return  # a special token
        losses = [one for one, _ in waiting if one is not None]
        shares = list(zip(*(active for _, active in waiting), strict=True))
        self.pieces.append(
            Piece(
                new,
                sum(losses) if losses else None,
                len(waiting),
                tuple(sum(share) / len(share) for share in shares),
                written,
            )
        )

    @property
    def written(self) -> str:
        """What the model wrote."""
        return "".join(piece.text for piece in self.pieces if piece.written)
