"""Long texts in windows give the ids of the whole text, in bounded memory."""

import string
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import tiny
from langneurons.data import make_blocks, tokenizing
from langneurons.errors import InputError

SAMPLE = [
    "the cat and the dog run over the hill, don't they? 1234 times 56.7",
    "बिल्ली और कुत्ता पहाड़ी पर नदी के पास घर तक दौड़ते हैं",
    "猫和狗跑过山丘到河边的房子。 Đoạn thứ tư được viết.",
    string.ascii_letters,
]


def built(kind: str) -> PreTrainedTokenizerFast:
    """Tokenizers of every common make: with and without words, with a mark before the first."""
    if kind == "bytes":
        return tiny.tokenizer()
    special = {"special_tokens": ["<unk>"], "show_progress": False}
    if kind == "unigram":
        core = Tokenizer(models.Unigram())
        core.normalizer = normalizers.NFKC()
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", **special)
    elif kind == "llama":  # one word from end to end, a mark before the first letter
        core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        core.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        trainer = trainers.BpeTrainer(vocab_size=260, **special)
    elif kind == "words":
        core = Tokenizer(models.WordLevel(unk_token="<unk>"))
        core.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(vocab_size=200, **special)
    else:
        core = Tokenizer(models.WordPiece(unk_token="<unk>"))
        core.normalizer = normalizers.BertNormalizer(lowercase=True)
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=200, **special)
    core.train_from_iterator(SAMPLE * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


TOKENIZERS = {kind: built(kind) for kind in ("bytes", "unigram", "llama", "words", "pieces")}

texts = st.lists(
    st.one_of(
        st.sampled_from([word for line in SAMPLE for word in line.split()]),
        st.text(min_size=1, max_size=8),
        st.sampled_from([" ", "\n\n", "   ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "------"]),
    ),
    min_size=40,
    max_size=300,
).map(" ".join)


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=texts)
@settings(deadline=None, max_examples=40)
def test_windows_give_the_ids_of_the_whole_text(kind, text):
    tokenizer = TOKENIZERS[kind]
    patch = pytest.MonkeyPatch()
    patch.setattr(tokenizing, "CHARACTERS_AT_ONCE", 300)
    patch.setattr(tokenizing, "OVERLAP", 40)
    patch.setattr(tokenizing, "AGREED", 4)
    try:
        parts = list(tokenizing.tokenized(["one", text, "two"], tokenizer))
    finally:
        patch.undo()
    found: list[list[int]] = [[]]
    for part in parts:
        found[-1] += part.ids.tolist()
        if part.last:
            found.append([])
    expected = [tokenizer(x, add_special_tokens=False)["input_ids"] for x in ("one", text, "two")]
    assert found == [*expected, []]


def test_a_long_text_comes_in_several_parts_as_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(tokenizing, "CHARACTERS_AT_ONCE", 500)
    monkeypatch.setattr(tokenizing, "OVERLAP", 250)
    asked = []

    def counting(*words, **options):
        asked.append(len(words[0]))
        return tiny.tokenizer()(*words, **options)

    counting.is_fast = True
    parts = tokenizing.tokenized(["the cat and the dog " * 200], counting)
    next(parts)
    assert asked == [500, 500]
    assert 10 < len(list(parts)) < 20
    # Letters that are one run agree nowhere in a period: the text is then taken whole.
    run = "a" * 900
    whole = np.concatenate([part.ids for part in tokenizing.tokenized([run], tiny.tokenizer())])
    assert whole.tolist() == tiny.tokenizer()(run, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("prefixes", [None, ["", "a long question: " * 50, "q "]])
def test_blocks_do_not_know_how_a_text_was_tokenised(monkeypatch, pack, prefixes):
    documents = ["short one", "the cat, " * 300 + "और कुत्ता " * 60, "the end"]
    options = {"block": 32, "pack": pack, "prefixes": prefixes, "prefix_tokens": 3}
    whole = make_blocks(documents, tiny.tokenizer(), **options)
    monkeypatch.setattr(tokenizing, "CHARACTERS_AT_ONCE", 400)
    monkeypatch.setattr(tokenizing, "OVERLAP", 80)
    assert make_blocks(documents, tiny.tokenizer(), **options).fingerprint == whole.fingerprint
    with pytest.raises(InputError, match=r"more texts than prefixes \(1\)"):
        make_blocks(documents, tiny.tokenizer(), prefixes=["a"])


def test_only_as_much_of_one_line_is_tokenised_as_the_tokens_need():
    text = " ".join(np.random.default_rng(0).choice(SAMPLE[0].split(), 700_000))
    tracemalloc.start()
    blocks = make_blocks([text], tiny.tokenizer(), tokens=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1000 <= blocks.tokens < 1300
    assert peak < 60e6  # Python's own lists of one window, not of 3 million characters
