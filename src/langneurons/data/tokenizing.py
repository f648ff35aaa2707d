"""Texts to token ids in bounded memory: long texts are tokenised a window at a time.

A tokenizer's own records take some hundred bytes a character, so texts go to it in groups of
:data:`CHARACTERS_AT_ONCE`, and a longer text in overlapping windows of that size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 256
CHARACTERS_AT_ONCE = 1 << 18
OVERLAP = 1 << 12
"""Characters that neighbouring windows share, at first."""
AGREED = 16
"""Tokens on either side of a seam in which neighbouring windows must agree."""


class Part(NamedTuple):
    """Consecutive tokens of one text, with the prefix before it.

    Attributes:
        text: Prefix and text.
        head: Characters of the prefix.
        ids: int64 (n,).
        ends: int64 (n,), the character each token ends at; empty where nothing has a prefix.
        last: Whether the text ends here.
    """

    text: str
    head: int
    ids: NDArray[np.int64]
    ends: NDArray[np.int64]
    last: bool


def tokenized(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, prefixes: Sequence[str] | None = None
) -> Iterator[Part]:
    """Tokens of each text in turn, without special tokens; long texts come in several parts.

    Args:
        texts: The texts, read as far as parts are asked for.
        tokenizer: The tokenizer. A slow one takes every text whole.
        prefixes: One a text, set before it.

    Yields:
        The parts, in order; those of one text joined are its ids as tokenised whole.

    Raises:
        InputError: If there are fewer prefixes than texts.
    """
    for group in _groups(_with_prefixes(texts, prefixes)):
        whole = [head + text for head, text in group]
        if tokenizer.is_fast and len(whole[0]) > CHARACTERS_AT_ONCE:
            for ids, ends, last in _windows(whole[0], tokenizer):
                yield Part(whole[0], len(group[0][0]), ids, ends, last)
            continue
        encoded = tokenizer(
            whole,
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=prefixes is not None,
            verbose=False,
        )
        for number, ids in enumerate(encoded["input_ids"]):
            spans = encoded["offset_mapping"][number] if prefixes is not None else []
            ends = np.asarray(spans, dtype=np.int64).reshape(-1, 2)[:, 1]
            yield Part(whole[number], len(group[number][0]), np.asarray(ids, np.int64), ends, True)


def _with_prefixes(
    texts: Iterable[str], prefixes: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        if prefixes is not None and number >= len(prefixes):
            raise InputError(
                f"there are more texts than prefixes ({len(prefixes)}): give one a text."
            )
        yield ("" if prefixes is None else prefixes[number]), text


def _groups(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Texts that a tokenizer takes at once; one longer than the bound comes alone."""
    group: list[tuple[str, str]] = []
    characters = 0
    for head, text in texts:
        size = len(head) + len(text)
        if group and (len(group) == TEXTS_AT_ONCE or characters + size > CHARACTERS_AT_ONCE):
            yield group
            group, characters = [], 0
        group.append((head, text))
        characters += size
    if group:
        yield group


def _windows(
    text: str, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], bool]]:
    """Ids of a long text, the characters its tokens end at, and whether it ends.

    Each window overlaps the one before. The one gives over to the other at a character around
    which both have the same tokens: from there on a tokenizer goes the same way in both. Where
    they agree nowhere, the overlap grows; where that does not help, the text is tokenised whole.
    """
    start = begin = given = 0
    ids, spans = _window(text, 0, CHARACTERS_AT_ONCE, tokenizer)
    while (stop := start + CHARACTERS_AT_ONCE) < len(text):
        overlap, seam = OVERLAP, None
        while overlap < CHARACTERS_AT_ONCE:
            after = stop - overlap
            following = _window(text, after, CHARACTERS_AT_ONCE, tokenizer)
            seam = _seam((ids[begin:], spans[begin:]), following, stop - overlap // 2)
            if seam is not None:
                break
            overlap *= 2
        if seam is None:
            ids, spans = _window(text, 0, len(text), tokenizer)
            yield ids[given:], spans[given:, 1], True
            return
        here = begin + seam[0]
        yield ids[begin:here], spans[begin:here, 1], False
        given += here - begin
        (ids, spans), start, begin = following, after, seam[1]
    yield ids[begin:], spans[begin:, 1], True


Window = tuple[NDArray[np.int64], NDArray[np.int64]]


def _window(text: str, start: int, size: int, tokenizer: PreTrainedTokenizerBase) -> Window:
    """Ids (n,) of a part of the text and the characters of the whole (n, 2) that they span."""
    encoded = tokenizer(
        text[start : start + size],
        add_special_tokens=False,
        return_attention_mask=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    spans = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2) + start
    return np.asarray(encoded["input_ids"], dtype=np.int64), spans


def _seam(one: Window, two: Window, middle: int) -> tuple[int, int] | None:
    """Indices, one in each window, of a token at which the second may go on for the first.

    Of all tokens around which :data:`AGREED` on either side are the same and span the same
    characters, the one nearest to ``middle``.
    """
    (ids, spans), (next_ids, next_spans) = one, two
    places: dict[int, int] = {}
    for index, at in enumerate(spans[:, 0].tolist()):
        places.setdefault(at, index)
    starts = next_spans[:, 0]
    inside = np.arange(AGREED, len(next_ids) - AGREED)
    inside = inside[starts[inside] != starts[inside - 1]]  # several tokens may share a character
    for there in inside[np.argsort(np.abs(starts[inside] - middle), kind="stable")].tolist():
        here = places.get(int(starts[there]))
        if here is None or not AGREED <= here <= len(ids) - AGREED:
            continue
        before, after = slice(here - AGREED, here + AGREED), slice(there - AGREED, there + AGREED)
        if np.array_equal(ids[before], next_ids[after]) and np.array_equal(
            spans[before], next_spans[after]
        ):
            return here, there
    return None
