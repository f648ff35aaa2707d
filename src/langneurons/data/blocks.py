"""Token blocks of one language: documents cut into pieces, with exact book-keeping.

Every text token lies in exactly one block (or is dropped because the caller asked for it), carries
its document and its offset there, and is *counted* unless it is a special token or part of a
prompt prefix. Documents are never mixed within a block unless ``pack`` is set.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from langneurons.artifacts import digest
from langneurons.data.tokenizing import tokenized
from langneurons.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_POSITION = -1
"""Position of tokens that belong to no document: padding and the tokens set before a block."""


def document_key(text: str) -> int:
    """64-bit key of a document's content (signed), the same on every machine and in every run."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(),
        "little",
        signed=True,
    )


@dataclass(frozen=True)
class Cut:
    """How blocks were cut, as far as it decides what the model sees of a text.

    Attributes:
        block: Most positions in a block.
        pack: Whether blocks cross document boundaries.
        lead: Token ids put in front of each block.
        prefix_tokens: Tokens at the beginning of each document that are not counted.
        special: Digest of the token ids that are never counted.
    """

    block: int
    pack: bool
    lead: tuple[int, ...]
    prefix_tokens: int
    special: str


@dataclass(frozen=True, eq=False)
class Blocks:
    """Token blocks of one language; ``n`` blocks, ``b`` positions each, padded on one side.

    Attributes:
        input_ids: int64 (n, b).
        attention_mask: bool (n, b), False on padding.
        counted: bool (n, b); False on padding, special tokens and prompt prefixes.
        document: int64 (n,), index (in the given texts) of the document a block begins in.
        position: int64 (n, b), token offset within the document, -1 where there is none.
        document_keys: int64 (documents,), :func:`document_key` of each document.
        token_document: int64 (n, b) index of each token's document where blocks mix documents
            (``pack``), else None.
        cut: How they were cut; None where they were not made by :func:`make_blocks`.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    counted: torch.Tensor
    document: torch.Tensor
    position: torch.Tensor
    document_keys: torch.Tensor
    token_document: torch.Tensor | None = None
    cut: Cut | None = None

    @cached_property
    def tokens(self) -> int:
        """Number of counted tokens."""
        return int(self.counted.sum())

    @cached_property
    def lengths(self) -> torch.Tensor:
        """Real (not padded) tokens of each block, int64 (n,)."""
        return self.attention_mask.sum(1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the statistics: tokens, masks, documents, offsets."""
        return digest(
            "langneurons.blocks.1",
            self.input_ids,
            self.attention_mask,
            self.counted,
            self.position,
            self.keys(),
        )

    def documents(self) -> torch.Tensor:
        """Index of each token's document, int64 (n, b)."""
        if self.token_document is not None:
            return self.token_document
        return self.document[:, None].expand(self.input_ids.shape)

    def keys(self) -> torch.Tensor:
        """Content key of each token's document, int64 (n, b), or (n, 1) where a block has one."""
        if self.token_document is not None:
            return self.document_keys[self.token_document]
        return self.document_keys[self.document][:, None]

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: slice | torch.Tensor) -> Blocks:
        """Select blocks by slice or by an index or mask tensor; documents keep their numbers."""
        return replace(
            self,
            **{
                name: getattr(self, name)[index]
                for name in ("input_ids", "attention_mask", "counted", "document", "position")
            },
            token_document=None if self.token_document is None else self.token_document[index],
        )


class Batch(NamedTuple):
    """Blocks that run together, trimmed to the longest: (b, t) tensors, ``document`` (b,)."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    counted: torch.Tensor
    document: torch.Tensor
    position: torch.Tensor


class _Piece(NamedTuple):
    """Consecutive text tokens: a document, or a part of it that becomes one block."""

    ids: np.ndarray
    counted: np.ndarray
    documents: np.ndarray
    positions: np.ndarray

    def cut(self, start: int, stop: int | None = None) -> _Piece:
        return _Piece(*(part[start:stop] for part in self))


def make_blocks(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    block: int = 256,
    tokens: int | None = None,
    bos: bool | None = None,
    remainder: Literal["keep", "drop"] = "keep",
    pack: bool = False,
    prefixes: Sequence[str] | None = None,
    prefix_tokens: int = 0,
    padding_side: Literal["left", "right"] = "right",
) -> Blocks:
    """Cut documents into token blocks.

    Each document is tokenised without special tokens and cut into consecutive pieces; the
    tokenizer's own leading tokens (``<bos>`` where it has one) go in front of every piece.

    Args:
        texts: Documents of one language. An iterator is read only as far as ``tokens`` needs.
        tokenizer: The model's tokenizer.
        block: Positions in a block, leading tokens included.
        tokens: Stop with the block in which this many counted tokens are reached; None takes all.
        bos: Put the beginning-of-sequence token in front of each block; None does what the
            tokenizer itself does.
        remainder: ``"keep"`` pads a last, shorter piece; ``"drop"`` leaves it out.
        pack: Fill blocks across document boundaries instead of starting anew with each document.
        prefixes: One prompt prefix per text, put in front of it; its tokens are seen by the model
            but not counted (a token is prefix if it ends within the prefix).
        prefix_tokens: Leave the first so many tokens of each document out of the count.
        padding_side: Where padding goes.

    Returns:
        The blocks, in document order. A piece without any counted token is left out.

    Raises:
        InputError: If an argument is out of range or no counted token remains.
    """
    texts = [texts] if isinstance(texts, str) else texts
    lead = _leading_tokens(tokenizer, bos)
    size = block - len(lead)
    if size < 1:
        raise InputError(f"block={block} leaves no room for text: use at least {len(lead) + 1}.")
    if tokens is not None and tokens < 1:
        raise InputError(f"tokens must be at least 1, not {tokens}.")
    if prefix_tokens < 0:
        raise InputError(f"prefix_tokens must not be negative, not {prefix_tokens}.")
    keys: list[int] = []
    documents = _tokenize(texts, tokenizer, prefixes, prefix_tokens, keys)
    pieces: list[_Piece] = []
    seen = longest = 0
    for piece in _cut(documents, size, pack):
        longest = max(longest, len(piece.ids))
        count = int(piece.counted.sum())
        if count == 0 or (remainder == "drop" and len(piece.ids) < size):
            continue
        pieces.append(piece)
        seen += count
        if tokens is not None and seen >= tokens:
            break
    if not pieces:
        if remainder == "drop" and 0 < longest < size:
            raise InputError(
                f"no text fills a block of {size} tokens (the longest has {longest}): "
                "use a smaller block, or remainder='keep'."
            )
        raise InputError("the text holds no token to count: give more text.")
    special = digest(sorted(int(token) for token in tokenizer.all_special_ids))[:16]
    cut = Cut(block, pack, tuple(lead), prefix_tokens, special)
    return replace(_assemble(pieces, keys, lead, block, tokenizer, padding_side), cut=cut)


def _leading_tokens(tokenizer: PreTrainedTokenizerBase, bos: bool | None) -> list[int]:
    if bos is False:
        return []
    if bos is True:
        if tokenizer.bos_token_id is None:
            raise InputError(
                "bos=True, but the tokenizer has no beginning-of-sequence token: leave bos out."
            )
        return [int(tokenizer.bos_token_id)]
    special = set(tokenizer.all_special_ids)
    ids = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    return list(itertools.takewhile(special.__contains__, ids))


def _tokenize(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    prefixes: Sequence[str] | None,
    prefix_tokens: int,
    keys: list[int],
) -> Iterator[tuple[_Piece, bool]]:
    """Yield each document's tokens and append its content key to ``keys``.

    A long document comes in several pieces; with each comes whether it is the document's last.
    """
    if prefixes is not None and not tokenizer.is_fast:
        raise InputError("prefixes need a fast tokenizer: use prefix_tokens with this model.")
    special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
    position = 0
    for part in tokenized(texts, tokenizer, prefixes):
        if position == 0:
            keys.append(document_key(part.text))
        positions = np.arange(position, position + len(part.ids))
        counted = ~np.isin(part.ids, special) & (positions >= prefix_tokens)
        if part.head:
            counted &= part.ends > part.head
        document = np.full(len(part.ids), len(keys) - 1)
        yield _Piece(part.ids, counted, document, positions), part.last
        position = 0 if part.last else position + len(part.ids)


def _cut(documents: Iterable[tuple[_Piece, bool]], size: int, pack: bool) -> Iterator[_Piece]:
    rest: _Piece | None = None
    for piece, last in documents:
        whole = piece
        if rest is not None:
            pairs = zip(rest, piece, strict=True)
            whole = _Piece(*(np.concatenate(pair) for pair in pairs))
        full = len(whole.ids) - len(whole.ids) % size
        for start in range(0, full, size):
            yield whole.cut(start, start + size)
        rest = whole.cut(full)
        if last and not pack:
            if len(rest.ids):
                yield rest
            rest = None
    if rest is not None and len(rest.ids):
        yield rest


def _assemble(
    pieces: list[_Piece],
    keys: list[int],
    lead: list[int],
    block: int,
    tokenizer: PreTrainedTokenizerBase,
    padding_side: str,
) -> Blocks:
    """Put the leading tokens in front, pad, and stack; blocks are as wide as the longest needs."""
    width = min(block, len(lead) + max(len(piece.ids) for piece in pieces))
    n = len(pieces)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids = torch.full((n, width), int(pad), dtype=torch.int64)
    attention = torch.zeros((n, width), dtype=torch.bool)
    counted = torch.zeros((n, width), dtype=torch.bool)
    position = torch.full((n, width), NO_POSITION, dtype=torch.int64)
    document = torch.tensor([int(piece.documents[0]) for piece in pieces])
    documents = document[:, None].repeat(1, width)
    for row, piece in enumerate(pieces):
        length = len(lead) + len(piece.ids)
        start = width - length if padding_side == "left" else 0
        text = slice(start + len(lead), start + length)
        ids[row, start : start + len(lead)] = torch.tensor(lead, dtype=torch.int64)
        attention[row, start : start + length] = True
        ids[row, text] = torch.from_numpy(piece.ids)
        counted[row, text] = torch.from_numpy(piece.counted)
        position[row, text] = torch.from_numpy(piece.positions)
        documents[row, text] = torch.from_numpy(piece.documents)
    mixed = bool((documents != document[:, None]).any())
    return Blocks(
        input_ids=ids,
        attention_mask=attention,
        counted=counted,
        document=document,
        position=position,
        document_keys=torch.tensor(keys[: int(documents.max()) + 1], dtype=torch.int64),
        token_document=documents if mixed else None,
    )


def by_length(lengths: torch.Tensor) -> torch.Tensor:
    """Order of blocks for batching: longest first; equal lengths stay in their order."""
    return torch.argsort(lengths, descending=True, stable=True)


def fitting(
    longest: int, left: int, batch_tokens: int | None = None, batch_size: int | None = None
) -> int:
    """How many blocks the next batch holds.

    Args:
        longest: Real tokens of the longest block in it.
        left: Blocks left.
        batch_tokens: Most positions (padding included) in a batch; a single longer block still
            makes a batch of its own. Default 8192 where ``batch_size`` is None too.
        batch_size: Most blocks in a batch.

    Returns:
        At least 1, at most ``left``.
    """
    if batch_tokens is None and batch_size is None:
        batch_tokens = 8192
    count = left
    if batch_tokens is not None:
        count = min(count, max(1, batch_tokens // max(1, longest)))
    if batch_size is not None:
        count = min(count, max(1, batch_size))
    return count


def used_columns(blocks: Blocks, index: torch.Tensor) -> slice:
    """Columns in which any of the blocks ``index`` holds a real token."""
    used = blocks.attention_mask[index].any(0).nonzero()
    return slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)


def gather(blocks: Blocks, index: torch.Tensor) -> Batch:
    """Take the blocks ``index`` as one batch, with columns that are padding in all cut off."""
    columns = used_columns(blocks, index)
    return Batch(
        blocks.input_ids[index, columns],
        blocks.attention_mask[index, columns],
        blocks.counted[index, columns],
        blocks.document[index],
        blocks.position[index, columns],
    )


def batches(
    blocks: Blocks, *, batch_tokens: int | None = None, batch_size: int | None = None
) -> Iterator[Batch]:
    """Iterate over blocks in batches of similar length, longest first.

    Args:
        blocks: The blocks.
        batch_tokens: See :func:`fitting`.
        batch_size: See :func:`fitting`.

    Yields:
        Batches; together they hold every block once.
    """
    order, start = by_length(blocks.lengths), 0
    while start < len(order):
        longest = int(blocks.lengths[order[start]])
        count = fitting(longest, len(order) - start, batch_tokens, batch_size)
        yield gather(blocks, order[start : start + count])
        start += count
