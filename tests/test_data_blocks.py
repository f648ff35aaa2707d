import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from langneurons.data import Blocks, batches, document_key, make_blocks
from langneurons.errors import InputError

TOKENIZER = tiny.tokenizer()
TEXTS = st.lists(st.text(alphabet="ab é中हि\n<s>", min_size=0, max_size=60), min_size=1, max_size=6)
SPECIAL = set(TOKENIZER.all_special_ids)


def _ids(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def _tokens_by_document(blocks: Blocks) -> dict[tuple[int, int], int]:
    """(document, position) to token, refusing a token that is there twice."""
    found: dict[tuple[int, int], int] = {}
    for row, column in blocks.attention_mask.nonzero().tolist():
        position = int(blocks.position[row, column])
        if position < 0:
            continue
        place = int(blocks.documents()[row, column]), position
        assert place not in found
        found[place] = int(blocks.input_ids[row, column])
    return found


@settings(max_examples=60, deadline=None)
@given(
    texts=TEXTS,
    block=st.integers(2, 12),
    bos=st.booleans(),
    pack=st.booleans(),
    side=st.sampled_from(["left", "right"]),
)
def test_no_token_is_lost_or_there_twice(
    texts: list[str], block: int, bos: bool, pack: bool, side: str
) -> None:
    ids = [_ids(text) for text in texts]
    counted = sum(token not in SPECIAL for document in ids for token in document)
    make = lambda: make_blocks(  # noqa: E731
        texts, TOKENIZER, block=block, bos=bos, pack=pack, padding_side=side
    )
    if counted == 0:
        with pytest.raises(InputError):
            make()
        return
    blocks = make()
    assert blocks.tokens == counted
    found = _tokens_by_document(blocks)
    expected = {(d, p): token for d, row in enumerate(ids) for p, token in enumerate(row)}
    for place, token in found.items():
        assert expected[place] == token
    missing = set(expected) - set(found)
    # Only pieces made of special tokens alone may be left out.
    assert all(expected[place] in SPECIAL for place in missing)
    assert not (blocks.counted & ~blocks.attention_mask).any()
    if bos:
        first = blocks.attention_mask.int().argmax(1)
        assert (blocks.input_ids[torch.arange(len(blocks)), first] == 1).all()
        assert not blocks.counted[torch.arange(len(blocks)), first].any()


def test_documents_never_share_a_block_unless_packed() -> None:
    texts = ["abc" * 5, "xyz" * 5, "q"]
    apart = make_blocks(texts, TOKENIZER, block=8, bos=False)
    assert apart.token_document is None
    together = make_blocks(texts, TOKENIZER, block=8, bos=False, pack=True)
    assert together.token_document is not None
    assert len(together) < len(apart)
    assert together.tokens == apart.tokens
    stream = [token for text in texts for token in _ids(text)]
    assert together.input_ids[together.attention_mask].tolist() == stream


def test_pieces_remainder_and_token_limit() -> None:
    text = "a" + "b" * 300
    length = len(_ids(text))
    kept = make_blocks([text, text], TOKENIZER, block=16, bos=True)
    assert kept.tokens == 2 * length
    dropped = make_blocks([text, text], TOKENIZER, block=16, bos=True, remainder="drop")
    assert dropped.tokens == 2 * (length - length % 15)
    limited = make_blocks([text, text], TOKENIZER, block=16, bos=True, remainder="drop", tokens=31)
    assert limited.tokens == 45
    assert (limited.lengths == 16).all()


def test_an_iterator_is_read_only_as_far_as_needed() -> None:
    def endless():
        while True:
            yield "abcdefgh " * 20

    assert make_blocks(endless(), TOKENIZER, block=16, tokens=1000).tokens >= 1000


def test_special_tokens_are_recognised_by_id_wherever_they_stand() -> None:
    blocks = make_blocks(["ab</s>cd"], TOKENIZER, block=16, bos=False)
    row = blocks.input_ids[0].tolist()
    assert 2 in row
    assert not blocks.counted[0, row.index(2)]
    assert blocks.tokens == len(row) - 1


def test_prefixes_are_seen_but_not_counted() -> None:
    prefixes, texts = ["Question: a? ", ""], ["Answer b.", "plain"]
    blocks = make_blocks(texts, TOKENIZER, block=64, prefixes=prefixes)
    whole = [TOKENIZER.decode(_ids(p + t)) for p, t in zip(prefixes, texts, strict=True)]
    for row in range(2):
        seen = blocks.input_ids[row][blocks.attention_mask[row] & (blocks.position[row] >= 0)]
        assert TOKENIZER.decode(seen) == whole[row]
        counted = TOKENIZER.decode(blocks.input_ids[row][blocks.counted[row]])
        assert counted.strip() == texts[row]
    first = make_blocks(texts, TOKENIZER, block=64, prefix_tokens=3)
    assert first.tokens == sum(max(len(_ids(text)) - 3, 0) for text in texts)
    with pytest.raises(InputError, match="more texts than prefixes"):
        make_blocks(texts, TOKENIZER, prefixes=["x"])


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="no room"):
        make_blocks(["a"], TOKENIZER, block=1, bos=True)
    with pytest.raises(InputError, match="no text fills a block"):
        make_blocks(["abc"], TOKENIZER, block=64, remainder="drop")
    with pytest.raises(InputError, match="no token to count"):
        make_blocks(["", ""], TOKENIZER)
    with pytest.raises(InputError, match="tokens must be at least 1"):
        make_blocks(["abc"], TOKENIZER, tokens=0)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    batch_tokens=st.one_of(st.none(), st.integers(1, 200)),
    batch_size=st.one_of(st.none(), st.integers(1, 5)),
)
def test_batches_hold_every_block_once_and_keep_the_limits(
    lengths: list[int], batch_tokens: int | None, batch_size: int | None
) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef"), length)) for length in lengths]
    blocks = make_blocks(texts, TOKENIZER, block=24, padding_side="left")
    seen = 0
    tokens = []
    for batch in batches(blocks, batch_tokens=batch_tokens, batch_size=batch_size):
        seen += len(batch.document)
        tokens += batch.input_ids[batch.counted].tolist()
        assert batch.attention_mask.any(0).all(), "a column that is padding in every block"
        if batch_size is not None:
            assert len(batch.document) <= batch_size
        if batch_tokens is not None and len(batch.document) > 1:
            assert batch.input_ids.numel() <= batch_tokens
    assert seen == len(blocks)
    assert sorted(tokens) == sorted(blocks.input_ids[blocks.counted].tolist())


def test_fingerprint_and_document_keys_follow_content() -> None:
    a = make_blocks(["abc", "def"], TOKENIZER)
    assert a.fingerprint == make_blocks(["abc", "def"], TOKENIZER).fingerprint
    assert a.fingerprint != make_blocks(["abc", "deg"], TOKENIZER).fingerprint
    assert a.document_keys.tolist() == [document_key("abc"), document_key("def")]
