"""Facts about the rows of real data that a reader of a score should know of."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from langneurons.data.languages import plain_code, script
from langneurons.data.tasks.base import Example, Task
from langneurons.errors import InputError

NON_LATIN = frozenset(
    {
        *("am", "ar", "bg", "bn", "el", "fa", "gu", "he", "hi", "hy", "ja", "ka", "km", "kn"),
        *("ko", "lo", "mk", "ml", "mr", "my", "ne", "pa", "ru", "sr", "ta", "te", "th", "uk"),
        *("ur", "yue", "zh"),
    }
)
"""Languages whose usual script is not Latin."""

_NOT_TEXT = frozenset({"id", "group", "section", "extra", "label", "answers"})


def texts_of(example: Example) -> list[str]:
    """The example's own text fields; gold answers, often names, are the same in any language."""
    found: list[str] = []
    for name, value in vars(example).items():
        if name not in _NOT_TEXT:
            found.extend([value] if isinstance(value, str) else map(str, value))
    return found


def latin_share(text: str) -> float | None:
    """Share of a text's letters that are Latin, from 0 to 1; None where it has no letter."""
    letters = [character for character in text if character.isalpha()]
    if not letters:
        return None
    return sum(unicodedata.name(one, "").startswith("LATIN") for one in letters) / len(letters)


def not_latin(lang: str) -> bool:
    """Whether a language, by a code of any common form, is not written in Latin letters."""
    return plain_code(lang) in NON_LATIN and script(lang) != "Latn"


def is_romanised(text: str, lang: str) -> bool:
    """Whether more than half of the letters are Latin in a language of another script."""
    return not_latin(lang) and (latin_share(text) or 0.0) > 0.5


def flags(example: Example, lang: str) -> dict[str, bool]:
    """What is odd about a row: ``romanised`` (a field of it) and ``replaced`` (holds U+FFFD)."""
    texts = texts_of(example)
    return {
        "romanised": any(is_romanised(text, lang) for text in texts),
        "replaced": any("\ufffd" in text for text in texts),
    }


def left_in_english(examples: Sequence[Example], english: Iterable[Example]) -> list[str]:
    """Ids of examples that have a field in common with their English parallel.

    Fields without a letter (numbers, dates) are the same in every language and do not count.
    """
    parallel = {example.id: example for example in english}
    found = []
    for example in examples:
        other = parallel.get(example.id)
        if other is not None and any(
            a == b and any(character.isalpha() for character in a)
            for a, b in zip(texts_of(example), texts_of(other), strict=False)
        ):
            found.append(example.id)
    return found


def odd_rows(
    task: Task,
    lang: str,
    examples: Sequence[Example],
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, list[bool]]:
    """For each example what is odd about it: ``romanised``, ``replaced``, ``english``.

    ``english`` (a field of it is left in English) is there only where English examples of the same
    ids can be had; the draw (``split``, ``limit``, ``seed``) is that of the examples.
    """
    marks = [flags(example, lang) for example in examples]
    found = {name: [mark[name] for mark in marks] for name in ("romanised", "replaced")}
    if lang != "en" and "en" in task.languages:
        try:
            english = task.examples("en", split, limit, seed)
        except InputError:
            return found  # no English file beside this one
        left = set(left_in_english(examples, english))
        found["english"] = [example.id in left for example in examples]
    return found


def count_flags(task: Task, lang: str, split: str = "test") -> dict[str, int]:
    """How many rows of a split are odd, by kind."""
    examples = task.examples(lang, split)
    odd = odd_rows(task, lang, examples, split=split)
    return {"rows": len(examples), **{name: sum(marks) for name, marks in odd.items()}}
