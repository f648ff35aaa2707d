"""Belebele: a question on a FLORES passage with four answers to choose from; 122 languages.

Bandarkar et al. 2024, "The Belebele Benchmark: a Parallel Reading Comprehension Dataset in 122
Language Variants"; CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langneurons.data.tasks.base import NO_GOLD, TASKS, ChoiceExample, Example, SourcedTask
from langneurons.data.tasks.sources import find_file, load_hub, read_rows
from langneurons.errors import InputError

LETTERS = ("A", "B", "C", "D")
CODES: Mapping[str, str] = {
    "ar": "arb_Arab",
    "bn": "ben_Beng",
    "de": "deu_Latn",
    "en": "eng_Latn",
    "es": "spa_Latn",
    "fr": "fra_Latn",
    "hi": "hin_Deva",
    "id": "ind_Latn",
    "ja": "jpn_Jpan",
    "kn": "kan_Knda",
    "ko": "kor_Hang",
    "ml": "mal_Mlym",
    "mr": "mar_Deva",
    "pa": "pan_Guru",
    "ru": "rus_Cyrl",
    "sw": "swh_Latn",
    "ta": "tam_Taml",
    "te": "tel_Telu",
    "th": "tha_Thai",
    "tr": "tur_Latn",
    "ur": "urd_Arab",
    "vi": "vie_Latn",
    "zh": "zho_Hans",
}
"""Codes of the data set for two-letter codes; its own codes (``hin_Latn``) are taken as well."""


@TASKS.register("belebele")
class Belebele(SourcedTask):
    """Belebele, a test set, from files ``<code>.jsonl`` or from the Hub.

    See :class:`SourcedTask`; a template has ``{context}``, ``{question}`` and ``{options}``.
    """

    name = "belebele"
    kind = "choice"
    labels = LETTERS
    languages = tuple(CODES)
    context_field = "context"
    default_repo = "facebook/belebele"
    default_template = "{context}\n\nQuestion: {question}\n{options}\nAnswer:"

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        code = CODES.get(lang, lang)
        if split != "test":
            raise InputError(f"{self.name} is a test set and has no split {split!r}: take test.")
        if self.path is None:
            rows = load_hub(self.repo, code, split, f"{self.name} {lang!r}")
            return [_example(row, self.repo) for row in rows]
        file = find_file(self.path, [code], (".jsonl", ".parquet"), f"{self.name} of {lang!r}")
        return [_example(row, str(file)) for row in read_rows(file)]

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """See :meth:`Task.field_names`; ``options`` beside them."""
        return (*super().field_names(), "options")

    def fields(self, example: Example) -> dict[str, str]:
        """See :meth:`Task.fields`; ``options`` are the lettered answers, one a line."""
        assert isinstance(example, ChoiceExample)
        pairs = zip(LETTERS, example.choices, strict=True)
        return {
            **super().fields(example),
            "options": "\n".join(f"{letter}. {choice}" for letter, choice in pairs),
        }

    def verbalised(self, example: Example, lang: str) -> tuple[tuple[str, str], ...]:
        """The letters, after the question."""
        text = self.encode(example)
        return tuple((text, f" {letter}") for letter in LETTERS)


def _example(row: Mapping[str, Any], source: str) -> ChoiceExample:
    try:
        link, number = str(row["link"]), str(row["question_number"])
        passage = str(row["flores_passage"])
        gold = str(row.get("correct_answer_num", "")).strip()
        return ChoiceExample(
            id=f"{link}#{number}",
            group=link,
            context=passage,
            question=str(row["question"]),
            choices=tuple(str(row[f"mc_answer{place}"]) for place in (1, 2, 3, 4)),
            label=int(gold) - 1 if gold in {"1", "2", "3", "4"} else NO_GOLD,
        )
    except KeyError as error:
        raise InputError(
            f"{source} has no column {error}: use the columns of Belebele's own files."
        ) from error
