"""Exact match and F1 of answers, as the official SQuAD and MLQA evaluations define them.

An answer is lower-cased, stripped of punctuation (every character of a Unicode category P, and
ASCII punctuation) and of its language's articles, and cut into words. Rules by language:

* en, es, de, vi, hi, ar: words at white space; articles as in MLQA's evaluation (for English the
  same as SQuAD v1.1's).
* zh: each character of U+4E00 to U+9FA5 is a word of its own, as in MLQA's evaluation.
* ja, th, lo, km, my, yue: not in the official evaluation; each character of the script is a word.
* every other language: not in the official evaluation; white space, no article removed.
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from langneurons.data.languages import plain_code
from langneurons.data.tasks.sources import read_squad, squad_rows
from langneurons.errors import InputError

OFFICIAL = ("ar", "de", "en", "es", "hi", "vi", "zh")
"""Languages that the official evaluation knows."""

_ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    # As the official evaluation has it, which in effect deletes the letters wherever they stand.
    "ar": r"\sال^|ال",
}
_SEGMENTED = {
    "zh": r"[\u4e00-\u9fa5]",
    "yue": r"[\u4e00-\u9fff]",
    "ja": r"[\u3040-\u30ff\u4e00-\u9fff]",
    "th": r"[\u0e00-\u0e7f]",
    "lo": r"[\u0e80-\u0eff]",
    "km": r"[\u1780-\u17ff]",
    "my": r"[\u1000-\u109f]",
}


@cache
def _punctuation() -> frozenset[str]:
    unicode = (chr(code) for code in range(sys.maxunicode))
    return frozenset(c for c in unicode if unicodedata.category(c).startswith("P")) | frozenset(
        string.punctuation
    )


@cache
def _segment_pattern(lang: str) -> re.Pattern[str]:
    return re.compile(f"({_SEGMENTED[lang]})")


def normalise(text: str, lang: str) -> list[str]:
    """The words of an answer that count, in order."""
    punctuation, lang = _punctuation(), plain_code(lang)
    text = "".join(c for c in text.lower() if c not in punctuation)
    if lang in _ARTICLES:
        text = re.sub(_ARTICLES[lang], " ", text)
    if lang in _SEGMENTED:
        text = _segment_pattern(lang).sub(r" \1 ", text)
    return text.split()


def exact_match(prediction: str, answer: str, lang: str) -> float:
    """1.0 where both have the same words in the same order, else 0.0."""
    return float(normalise(prediction, lang) == normalise(answer, lang))


def f1(prediction: str, answer: str, lang: str) -> float:
    """Harmonic mean of precision and recall of the words, counted with their number."""
    return bag_f1(normalise(prediction, lang), normalise(answer, lang))


def bag_f1(prediction: Sequence[object], answer: Sequence[object]) -> float:
    """F1 of two bags of words or token ids; 0.0 where they share none (also if both are empty)."""
    shared = sum((Counter(prediction) & Counter(answer)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(prediction), shared / len(answer)
    return 2 * precision * recall / (precision + recall)


def best(
    metric: Callable[[str, str, str], float], prediction: str, answers: Iterable[str], lang: str
) -> float:
    """The best value of a metric over all gold answers; nan where there is none."""
    return max((metric(prediction, answer, lang) for answer in answers), default=float("nan"))


def squad_scores(
    dataset: str | Path | Mapping[str, Any],
    predictions: Mapping[str, str],
    lang: str,
) -> dict[str, float]:
    """Score predictions against a SQuAD v1.1, XQuAD or MLQA data set.

    Args:
        dataset: Path of the official JSON file, or the parsed object (or its ``data`` list).
        predictions: Question id to predicted text; a question without one scores 0.
        lang: Language whose rules apply.

    Returns:
        ``{"exact_match": %, "f1": %}`` over all questions.

    Raises:
        InputError: If the data set cannot be read, holds no questions, or one has no gold answer.
    """
    if isinstance(dataset, (str, Path)):
        rows = read_squad(Path(dataset))
    else:
        rows = squad_rows(dataset, "the data set")
        if not rows:
            raise InputError("the data set holds no questions: give some.")
    exact = total = 0.0
    for row in rows:
        if not row["answers"]:
            raise InputError(
                f"question {row['id']!r} has no gold answer to score against: leave it out."
            )
        prediction = predictions.get(row["id"])
        if prediction is not None:
            exact += best(exact_match, prediction, row["answers"], lang)
            total += best(f1, prediction, row["answers"], lang)
    return {"exact_match": 100 * exact / len(rows), "f1": 100 * total / len(rows)}
