"""Is a text in the language it is given for? By its letters, and by lingua where it is there."""

from __future__ import annotations

import importlib.util
import itertools
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from langneurons.data.languages import plain_code, script

LOOKED_AT = 200
"""Documents of a text that are looked at."""

_LONG_ENOUGH = 20  # letters; names, numbers and headings say little
_MOST = 0.1
"""Share of the documents that may look foreign before a warning: quotations and names are usual."""

_LETTERS = {
    "Latn": ("LATIN",),
    "Cyrl": ("CYRILLIC",),
    "Grek": ("GREEK",),
    "Arab": ("ARABIC",),
    "Hebr": ("HEBREW",),
    "Deva": ("DEVANAGARI",),
    "Beng": ("BENGALI",),
    "Guru": ("GURMUKHI",),
    "Gujr": ("GUJARATI",),
    "Orya": ("ORIYA",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Knda": ("KANNADA",),
    "Mlym": ("MALAYALAM",),
    "Sinh": ("SINHALA",),
    "Thai": ("THAI",),
    "Laoo": ("LAO",),
    "Khmr": ("KHMER",),
    "Mymr": ("MYANMAR",),
    "Tibt": ("TIBETAN",),
    "Ethi": ("ETHIOPIC",),
    "Geor": ("GEORGIAN",),
    "Armn": ("ARMENIAN",),
    "Hans": ("CJK",),
    "Hant": ("CJK",),
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA"),
    "Kore": ("HANGUL", "CJK"),
}
"""How Unicode's names of letters begin, by script."""


class Watched(Iterable[str]):
    """Documents that are read on, the first of them kept to be looked at.

    Args:
        texts: The documents.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [texts] if isinstance(texts, str) else texts
        self.seen: list[str] = []

    def __iter__(self) -> Iterator[str]:
        if isinstance(self._texts, Sequence):
            step = max(1, len(self._texts) // LOOKED_AT)
            self.seen = list(self._texts[::step])[:LOOKED_AT]
            yield from self._texts
            return
        stream = iter(self._texts)
        self.seen = list(itertools.islice(stream, LOOKED_AT))
        yield from self.seen
        yield from stream


def warn_of_other_languages(texts: Sequence[str], lang: str, languages: Iterable[str] = ()) -> None:
    """Warn if more than a tenth of the documents look like another language than ``lang``.

    A document is foreign if most of its letters are of another script; with lingua
    (``langneurons[language-id]``) also if it is taken for one of the other languages. Names that
    are no language code, and documents of a few letters, are not judged.

    Args:
        texts: Documents.
        lang: Code of the language they are given for, in any common form.
        languages: Codes of the other languages of the run; English is always looked for.
    """
    if not _is_code(lang):
        return
    long = [text for text in texts if sum(map(str.isalpha, text)) >= _LONG_ENOUGH]
    foreign = [text for text in long if _other_script(text, lang)]
    how = "by their letters"
    rest = [text for text in long if not _other_script(text, lang)]
    named = _named_otherwise(rest, lang, languages)
    if named:
        foreign += named
        how = "by their letters and by lingua"
    if long and len(foreign) > _MOST * len(long):
        warnings.warn(
            f"{len(foreign)} of {len(long)} documents looked at in the text of {lang!r} seem to be "
            f"in another language ({how}; such as {_short(foreign[0])!r}): what is found for "
            f"{lang!r} would be found for a mixture. Look at the text.",
            stacklevel=2,
        )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}..."


@cache
def _is_code(lang: str) -> bool:
    import langcodes

    return langcodes.tag_is_valid(lang.replace("_", "-"))


def _other_script(text: str, lang: str) -> bool:
    own = _LETTERS.get(script(lang))
    if own is None:
        return False
    letters = [letter for letter in text[:2000] if letter.isalpha()]
    mine = sum(unicodedata.name(letter, "").startswith(own) for letter in letters)
    return 2 * mine < len(letters)


def _named_otherwise(texts: Sequence[str], lang: str, languages: Iterable[str]) -> list[str]:
    """Documents that lingua takes for another language; none where it cannot tell."""
    if not texts or importlib.util.find_spec("lingua") is None:
        return []
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = dict.fromkeys(plain_code(code).upper() for code in (lang, *languages, "en"))
    known = [getattr(IsoCode639_1, code) for code in codes if hasattr(IsoCode639_1, code)]
    own = getattr(IsoCode639_1, plain_code(lang).upper(), None)
    if own is None or len(known) < 2:
        return []
    detector = (
        LanguageDetectorBuilder.from_iso_codes_639_1(*known)
        .with_minimum_relative_distance(0.2)
        .build()
    )
    found = [detector.detect_language_of(text[:500]) for text in texts]
    return [
        text
        for text, language in zip(texts, found, strict=True)
        if language is not None and language.iso_code_639_1 != own
    ]
