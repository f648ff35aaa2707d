"""Facts about the rows of real data that a reader of a score should know of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langneurons.data.tasks.base import Example, Task

NON_LATIN = frozenset(
    {
        *("am", "ar", "bg", "bn", "el", "fa", "gu", "he", "hi", "hy", "ja", "ka", "km", "kn"),
        *("ko", "lo", "mk", "ml", "mr", "my", "ne", "pa", "ru", "sr", "ta", "te", "th", "uk"),
        *("ur", "yue", "zh"),
    }
)
"""Languages whose usual script is not Latin."""

_NOT_TEXT = frozenset({"id", "group", "extra", "label"})


def texts_of(example: Example) -> list[str]:
    """The example's own text fields."""
    found: list[str] = []
    for name, value in vars(example).items():
        if name not in _NOT_TEXT:
            found.extend([value] if isinstance(value, str) else map(str, value))
    return found


def is_romanised(text: str, lang: str) -> bool:
    """Whether more than half of the letters are Latin in a language of another script."""
    if lang not in NON_LATIN:
        return False
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(character.isascii() for character in letters) > len(letters)


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


def count_flags(task: Task, lang: str, split: str = "test") -> dict[str, int]:
    """How many rows of a split are odd, by kind; ``english`` where the task has English."""
    examples = task.examples(lang, split)
    counts = {"rows": len(examples), "romanised": 0, "replaced": 0}
    for example in examples:
        for name, found in flags(example, lang).items():
            counts[name] += found
    if lang != "en" and "en" in task.languages:
        counts["english"] = len(left_in_english(examples, task.examples("en", split)))
    return counts
