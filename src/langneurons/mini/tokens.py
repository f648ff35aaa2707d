"""The tokenizer of the built-in world: byte-level BPE with names and values kept whole."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from langneurons.mini.lexicon import LEXICON

PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def _phrases() -> tuple[list[str], list[str]]:
    """Words of several parts that are to be one token: with spaces between words, and without."""
    spaced: set[str] = set()
    unspaced: set[str] = set()
    for language in LEXICON.values():
        words = {*language.answers, *language.words}
        for relation in language.relations.values():
            words.update(*(value.split("|") for value in relation.values), relation.groups)
            words.update(relation.companions)
        if language.space:
            spaced.update(word for word in words if not word.isalnum())
        else:
            unspaced.update(words, language.names)
    return sorted(spaced, key=len, reverse=True), sorted(unspaced, key=len, reverse=True)


def pattern() -> str:
    """The regular expression by which text is cut before BPE merges anything.

    Chinese is written without spaces, so the words of the world are listed and every other
    character stands alone; elsewhere a word with its leading space is one piece, and so is a name
    or value of several words ("orange juice", "bác sĩ").
    """
    spaced, unspaced = _phrases()
    letter = r"[\p{L}\p{M}]"
    return "|".join(
        (
            r"\n",
            rf" ?(?:{'|'.join(map(re.escape, spaced))})(?!{letter})".replace(r"\ ", " "),
            "|".join(map(re.escape, unspaced)),
            r"\p{Han}",
            rf"'s(?!{letter})",
            rf" ?[^\s\p{{L}}\p{{M}}\p{{N}}\p{{Han}}]'(?={letter})",
            rf" ?{letter}+",
            r" ?\p{N}+",
            r" ?[^\s\p{L}\p{M}\p{N}]",
            r"\s",
        )
    )


def train_tokenizer(texts: list[str], size: int, merges: int = 400) -> PreTrainedTokenizerFast:
    """Train the tokenizer.

    Merges alone would spend half of the vocabulary on the parts of words. So a few merges are
    trained for text from outside the world, and the commonest words are added whole (looked up
    before any merge, as in Llama 3).

    Args:
        texts: documents of every language.
        size: number of tokens, the 256 bytes and three special tokens included.
        merges: number of trained merges.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern()), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # comes in no fixed order
    trainer = trainers.BpeTrainer(
        vocab_size=3 + len(alphabet) + merges,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    words = Counter(
        word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)
    )
    written = json.loads(tokenizer.to_str())
    vocabulary = written["model"]["vocab"]
    for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        if len(vocabulary) < size:
            vocabulary.setdefault(word, len(vocabulary))
    written["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(written))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="right",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer saved by `PreTrainedTokenizerFast.save_pretrained`."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(path)
    return tokenizer
