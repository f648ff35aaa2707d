"""FLORES-200: translation of parallel sentences, 200 languages.

NLLB Team 2022, "No Language Left Behind: Scaling Human-Centered Machine Translation"; CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langneurons.data.tasks.base import TASKS, Example, SourcedTask, TranslationExample
from langneurons.data.tasks.belebele import CODES
from langneurons.data.tasks.sources import find_file, load_hub
from langneurons.errors import InputError

NAMES: Mapping[str, str] = {
    "ar": "Arabic",
    "bn": "Bengali",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "id": "Indonesian",
    "ja": "Japanese",
    "kn": "Kannada",
    "ko": "Korean",
    "ml": "Malayalam",
    "mr": "Marathi",
    "pa": "Punjabi",
    "ru": "Russian",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tr": "Turkish",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
_SPLITS = {"dev": "dev", "test": "devtest"}


@TASKS.register("flores")
class Flores(SourcedTask):
    """Translation from one language into the language asked for.

    Args:
        source: Language translated from; where it is the one asked for, English is.
        **data: See :class:`SourcedTask`. Local files are ``devtest.<lang>.txt`` and
            ``dev.<lang>.txt``, a sentence a line, the lines parallel; a template has ``{source}``,
            ``{source_language}`` and ``{target_language}``; the split ``test`` is ``devtest``.
    """

    name = "flores"
    kind = "translation"
    languages = tuple(NAMES)
    context_field = "source"
    default_repo = "openlanguagedata/flores_plus"
    default_template = "{source_language}: {source}\n{target_language}:"
    max_answer_tokens = 128

    def __init__(self, *, source: str = "en", **data: Any) -> None:
        super().__init__(**data)
        if source not in NAMES:
            raise InputError(f"flores has no name for {source!r}; known: {', '.join(NAMES)}.")
        self.source = source

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        if split not in _SPLITS:
            raise InputError(f"{self.name} has no split {split!r}; it has dev and test.")
        if lang not in NAMES:
            raise InputError(f"flores has no name for {lang!r}; known: {', '.join(NAMES)}.")
        origin = self.source if lang != self.source else "en" if lang != "en" else ""
        if not origin:
            raise InputError("flores: English is the source: give source='es', or another target.")
        sentences, references = self._lines(origin, split), self._lines(lang, split)
        if len(sentences) != len(references):
            raise InputError(
                f"flores: {split} has {len(sentences)} lines in {origin!r} and {len(references)} "
                f"in {lang!r}: the files must be parallel."
            )
        return [
            TranslationExample(
                id=str(number),
                group=str(number),
                source=sentence,
                reference=reference,
                source_language=NAMES[origin],
                target_language=NAMES[lang],
            )
            for number, (sentence, reference) in enumerate(zip(sentences, references, strict=True))
        ]

    def _lines(self, lang: str, split: str) -> list[str]:
        what = f"{self.name} {split} of {lang!r}"
        if self.path is None:
            rows = load_hub(self.repo, CODES[lang], _SPLITS[split], what)
            return [str(row["text"]).strip() for row in rows]
        file = find_file(self.path, [f"{_SPLITS[split]}.{lang}"], (".txt",), what)
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{str(file)!r} is not UTF-8 text: convert it to UTF-8.") from error
        return [line.strip() for line in text.split("\n") if line.strip()]

    def describe(self) -> dict[str, Any]:
        """See :meth:`Task.describe`."""
        return {**super().describe(), "from": self.source}
