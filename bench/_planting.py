"""A model built by hand in which it is known which units belong to which language.

Four invented languages share a few task words. The model's embedding says of each word its
language, whether it is a task word, and some arbitrary content; attention writes nothing; every
unit of the gated MLPs is set by hand to fire for one language, for a pair, for task words, always,
never, or by content alone. A language's units write towards that language's words, so that they
matter for prediction too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from langneurons.identification import NeuronSet, Units
from langneurons.models import LanguageModel, wrap

if TYPE_CHECKING:
    from torch import Tensor

LANGUAGES = ("aa", "bb", "cc", "dd")
LAYERS, WIDTH, HIDDEN = 3, 160, 48
WORDS, TASK_WORDS = 40, 6
PURE, PAIR, TASK, ALWAYS, DEAD = 2, 1, 2, 1, 8
"""Units in each layer: per language, per neighbouring pair of languages, and in all."""

_TASK_AXIS, _CONST_AXIS = len(LANGUAGES), len(LANGUAGES) + 1
_CONTENT = slice(len(LANGUAGES) + 2, HIDDEN)
_TASK_RATE = 0.15


@dataclass(frozen=True)
class Plant:
    """A planted model, its text, and the truth.

    Attributes:
        lm: The model.
        texts: Language to documents.
        kinds: Array (L, U) of strings: a language, ``"aa+bb"``, ``"task"``, ``"always"``,
            ``"dead"`` or ``"content"``.
    """

    lm: LanguageModel
    texts: dict[str, list[str]]
    kinds: np.ndarray[tuple[int, int], np.dtype[np.str_]]

    @property
    def truth(self) -> NeuronSet:
        """The units that fire for one language alone."""
        return NeuronSet(
            {
                language: Units.from_mask(torch.from_numpy(self.kinds == language))
                for language in LANGUAGES
            },
            (LAYERS, WIDTH),
            method="planted",
        )


def plant(*, documents: int = 40, words: int = 60, seed: int = 0) -> Plant:
    """Build the model and its text.

    Args:
        documents: Documents of each language.
        words: Words of each document.
        seed: Of the content, the text and the places of the units.
    """
    generator = np.random.default_rng(seed)
    vocabulary = [f"{language}{word}" for language in LANGUAGES for word in range(WORDS)]
    vocabulary += [f"task{word}" for word in range(TASK_WORDS)]
    kinds = np.stack([generator.permutation(_layer_kinds()) for _ in range(LAYERS)])
    lm = wrap(_model(len(vocabulary) + 2, kinds, generator), _tokenizer(vocabulary), "planted")
    texts = {
        language: [_document(number, words, generator) for _ in range(documents)]
        for number, language in enumerate(LANGUAGES)
    }
    return Plant(lm, texts, kinds)


def _layer_kinds() -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    kinds = [language for language in LANGUAGES for _ in range(PURE)]
    for first, second in itertools.pairwise(LANGUAGES):
        kinds += [f"{first}+{second}"] * PAIR
    kinds += ["task"] * TASK + ["always"] * ALWAYS + ["dead"] * DEAD
    return np.array(kinds + ["content"] * (WIDTH - len(kinds)))


def _document(language: int, words: int, generator: np.random.Generator) -> str:
    own = generator.integers(WORDS, size=words)
    task = generator.integers(TASK_WORDS, size=words)
    is_task = generator.random(words) < _TASK_RATE
    return " ".join(
        f"task{t}" if flag else f"{LANGUAGES[language]}{w}"
        for w, t, flag in zip(own, task, is_task, strict=True)
    )


def _tokenizer(vocabulary: list[str]) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<unk>", *vocabulary]
    core = Tokenizer(
        WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>")
    )
    core.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>")


def _model(
    vocabulary: int, kinds: np.ndarray[Any, np.dtype[np.str_]], generator: np.random.Generator
) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    embedding = np.zeros((vocabulary, HIDDEN))
    for number in range(len(LANGUAGES)):
        first = 2 + number * WORDS
        embedding[first : first + WORDS, number] = 1
    embedding[-TASK_WORDS:, _TASK_AXIS] = 1
    embedding[:, _CONST_AXIS] = 1
    embedding[:, _CONTENT] = generator.normal(0, 0.3, (vocabulary, HIDDEN - _CONTENT.start))
    with torch.no_grad():
        _set(model.model.embed_tokens.weight, embedding)
        # The head reads the language so weakly that a language's units make prediction better.
        head = embedding * 0.3
        head[:, _CONST_AXIS] = 0
        head[:, _CONTENT] *= 0.1
        _set(model.lm_head.weight, head)
        for layer, names in zip(model.model.layers, kinds, strict=True):
            layer.self_attn.o_proj.weight.zero_()
            gate = np.zeros((WIDTH, HIDDEN))
            up = np.zeros((WIDTH, HIDDEN))
            down = np.zeros((HIDDEN, WIDTH))
            for unit, name in enumerate(names):
                gate[unit], down[:, unit] = _unit(str(name), generator)
                up[unit, _CONST_AXIS] = 1
            _set(layer.mlp.gate_proj.weight, gate)
            _set(layer.mlp.up_proj.weight, up)
            _set(layer.mlp.down_proj.weight, down)
    return model


def _unit(
    name: str, generator: np.random.Generator
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Gate and output weights of one unit; strengths vary from unit to unit."""
    gate, out = np.zeros(HIDDEN), np.zeros(HIDDEN)
    strength = generator.uniform(1, 2)
    if name == "content":
        gate[_CONTENT] = generator.normal(0, 1, HIDDEN - _CONTENT.start)
        # Weak, so that content stays arbitrary in the layers above.
        out[_CONTENT] = generator.normal(0, 0.001, HIDDEN - _CONTENT.start)
        return gate * strength, out
    if name in ("always", "dead"):
        gate[_CONST_AXIS] = 1 if name == "always" else -1
        return gate * strength, out
    axes = [_TASK_AXIS] if name == "task" else [LANGUAGES.index(part) for part in name.split("+")]
    gate[axes] = 2
    gate[_CONST_AXIS] = -1
    # A pair's unit writing towards both languages would make each look like the other above it.
    if len(axes) == 1:
        out[axes] = 0.03
    return gate * strength, out


def _set(weight: Tensor, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    weight.copy_(torch.from_numpy(values))


def recovery(neurons: NeuronSet, planted: Plant) -> pd.DataFrame:
    """Precision and recall of a set against the plant.

    Args:
        neurons: What a method found.
        planted: The planted model.

    Returns:
        One row per language: columns language, found, precision, recall (of the units planted for
        this language alone), and how many of the found ones were planted for a pair with this
        language (``pair``), for something else (``other``: another language, the task, always,
        never) or not at all (``content``).
    """
    truth = planted.truth
    rows = []
    for language in truth:
        found = neurons[language]
        kinds = planted.kinds[found.layers.numpy(), found.indices.numpy()]
        right = int((kinds == language).sum())
        pair = sum("+" in kind and language in kind.split("+") for kind in kinds)
        content = int((kinds == "content").sum())
        rows.append(
            {
                "language": language,
                "found": len(found),
                "precision": right / len(found) if len(found) else float("nan"),
                "recall": right / len(truth[language]),
                "pair": pair,
                "other": len(found) - right - pair - content,
                "content": content,
            }
        )
    return pd.DataFrame(rows)
