"""The bottom-k sample: which tokens are kept does not depend on how the text came in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from langneurons.data import Blocks, document_key, make_blocks
from langneurons.errors import InputError
from langneurons.statistics import sample
from langneurons.statistics.sample import (
    MemoryRows,
    RowSample,
    ScratchRows,
    Selection,
    select,
    token_keys,
)

TOKENIZER = tiny.tokenizer()
TEXTS = [f"document {n} " + "abc def " * (n % 7 + 1) for n in range(30)]
WORDS = 0xFFFFFFFFFFFFFFFF


def _splitmix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & WORDS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORDS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORDS
    return value ^ (value >> 31)


def test_keys_by_definition_in_python_integers() -> None:
    for seed in (0, 1, -5):
        for text, position in (("a", 0), ("b", 7), ("हिन्दी", 123456)):
            document = document_key(text)
            stream = _splitmix((document & WORDS) ^ _splitmix(seed & WORDS))
            stream = (stream + position * 0x9E3779B97F4A7C15) & WORDS
            key = token_keys(seed, torch.tensor([document]), torch.tensor([position]))
            assert key.tolist() == [_splitmix(stream) >> 1]


def test_keys_are_uniform() -> None:
    documents = torch.tensor([document_key(str(n)) for n in range(200)])[:, None]
    keys = token_keys(3, documents.expand(200, 50), torch.arange(50).expand(200, 50)).double()
    share = (keys / 2**63).flatten().numpy()
    # Kolmogorov-Smirnov distance of 10,000 uniform values: above 0.0195 once in a thousand.
    distance = np.abs(np.sort(share) - np.arange(1, 10_001) / 10_000).max()
    assert distance < 0.0195
    assert len(np.unique(share)) == 10_000


def _kept(selection: Selection) -> list[tuple[int, int, int]]:
    columns = (selection.keys, selection.documents, selection.positions)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(0, 400),
    block=st.integers(4, 40),
    side=st.sampled_from(["left", "right"]),
    order=st.permutations(range(len(TEXTS))),
)
def test_the_kept_set_depends_on_nothing_but_text_and_seed(
    rows: int, block: int, side: str, order: list[int]
) -> None:
    plain = make_blocks(TEXTS, TOKENIZER, block=16)
    other = make_blocks([TEXTS[n] for n in order], TOKENIZER, block=block, padding_side=side)
    other = other[torch.randperm(len(other), generator=torch.Generator().manual_seed(rows))]
    kept = _kept(select(plain, rows, 0))
    assert kept == _kept(select(other, rows, 0))
    assert len(kept) == min(rows, plain.tokens)
    if 0 < rows < plain.tokens:
        assert kept != _kept(select(plain, rows, 1))


def test_the_smallest_keys_are_kept_and_point_at_their_tokens() -> None:
    blocks = make_blocks(TEXTS, TOKENIZER, block=16)
    selection = select(blocks, 50, 0)
    everything = select(blocks, None, 0)
    assert len(everything) == blocks.tokens
    assert selection.keys.tolist() == sorted(everything.keys.tolist())[:50]
    assert blocks.counted[selection.block, selection.column].all()
    found = blocks.input_ids[selection.block, selection.column]
    assert torch.equal(found, selection.token_ids)
    assert torch.equal(blocks.position[selection.block, selection.column], selection.positions)


def test_copies_of_a_document_share_keys_and_leave_the_order_of_blocks_free() -> None:
    blocks = make_blocks(["same text here", "other", "same text here"], TOKENIZER, block=8)
    for rows in range(1, blocks.tokens):
        kept = select(blocks, rows, 0)
        turned = select(blocks[torch.arange(len(blocks) - 1, -1, -1)], rows, 0)
        assert _kept(kept) == _kept(turned)
        assert len(kept) == rows


def _sample(blocks: Blocks, limit: int | None) -> RowSample:
    chosen = select(blocks, limit, 0)
    # A made-up activation that says which token it belongs to.
    rows = torch.stack([chosen.positions, chosen.token_ids], dim=1).float()[None]
    columns = (chosen.keys, chosen.documents, chosen.positions, chosen.token_ids)
    return RowSample(limit, 0, *columns, rows=MemoryRows(rows))


@settings(max_examples=25, deadline=None)
@given(limit=st.integers(1, 300), cut=st.integers(1, 28), second=st.integers(1, 28))
def test_merged_samples_equal_the_sample_of_the_whole(limit: int, cut: int, second: int) -> None:
    whole = _sample(make_blocks(TEXTS, TOKENIZER, block=16), limit)
    a, b = sorted((cut, second))
    shards = [TEXTS[:a], TEXTS[a:b], TEXTS[b:]]
    parts = [_sample(make_blocks(s, TOKENIZER, block=16), limit) for s in shards if s]
    forward, backward = parts[0], parts[-1]
    for part in parts[1:]:
        forward = forward.merge(part)
    for part in parts[-2::-1]:
        backward = part.merge(backward)
    for merged in (forward, backward):
        for name in ("keys", "documents", "positions", "token_ids"):
            assert torch.equal(getattr(merged, name), getattr(whole, name))
        assert torch.equal(merged.rows.layer(0), whole.rows.layer(0))


@pytest.mark.parametrize(
    ("first", "second", "limit"),
    [(5, 20, 5), (20, 5, 5), (None, 7, 7), (7, None, 7), (None, None, None)],
)
def test_the_smaller_limit_is_that_of_merged_samples(first, second, limit) -> None:
    """Rows beyond it are missing from one of the two, so keeping them would favour the other."""
    shards = [make_blocks(texts, TOKENIZER, block=16) for texts in (TEXTS[:15], TEXTS[15:])]
    merged = _sample(shards[0], first).merge(_sample(shards[1], second))
    whole = _sample(make_blocks(TEXTS, TOKENIZER, block=16), limit)
    assert merged.limit == limit
    assert torch.equal(merged.keys, whole.keys)
    assert torch.equal(merged.rows.layer(0), whole.rows.layer(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_scratch_rows_hold_what_was_written(tmp_path, dtype: torch.dtype) -> None:
    values = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows = ScratchRows(tmp_path / "rows", 2, 10, 6, dtype)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    for layer in range(2):
        for part in order.split(3):
            rows.write(layer, part, values[layer, part])
    rows.write(0, order[:2], values[0, order[:2]])
    rows.flush()
    again = ScratchRows(tmp_path / "rows", 2, 10, 6, dtype)  # opening keeps what is there
    for layer in range(2):
        assert torch.equal(again.layer(layer), values[layer])


def test_no_rows(tmp_path) -> None:
    rows = ScratchRows(tmp_path / "rows", 1, 0, 6, torch.bfloat16)
    assert rows.layer(0).shape == (0, 6)


def plainly(blocks, rows, seed):
    """All keys at once, as the definition says: sorted, the smallest taken."""
    block, column = blocks.counted.nonzero(as_tuple=True)
    positions = blocks.position[block, column]
    documents = blocks.keys().expand(blocks.input_ids.shape)[block, column]
    keys = token_keys(seed, documents, positions)
    number = blocks.documents()[block, column]
    order = np.lexsort((positions, number, keys))[:rows]
    kept = torch.from_numpy(order)
    return keys[kept], documents[kept], positions[kept], block[kept], column[kept]


@settings(max_examples=25, deadline=None)
@given(
    copies=st.integers(1, 4),
    rows=st.sampled_from([None, 0, 1, 7, 50, 10_000]),
    at_once=st.sampled_from([1, 40, 1 << 18]),
    pack=st.booleans(),
)
def test_choosing_in_pieces_is_choosing_at_once(copies, rows, at_once, pack):
    texts = [f"{n} the cat and the dog" for n in range(7)] * copies
    blocks = make_blocks(texts, tiny.tokenizer(), block=9, pack=pack)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "_SELECTED_AT_ONCE", at_once)
        found = select(blocks, rows, seed=3)
    expected = plainly(blocks, rows, 3)
    got = (found.keys, found.documents, found.positions, found.block, found.column)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(found.token_ids, blocks.input_ids[found.block, found.column])


def test_samples_of_different_seeds_do_not_merge() -> None:
    one = _sample(make_blocks(TEXTS, TOKENIZER, block=16), 5)
    with pytest.raises(InputError, match=r"different seeds \(0, 7\) do not merge"):
        one.merge(replace(one, seed=7))
