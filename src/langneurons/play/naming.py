"""Naming the language of what was written: by lingua where it is installed, else the script."""

from __future__ import annotations

import functools
import importlib.util
import unicodedata
from collections import Counter
from collections.abc import Sequence

from langneurons.errors import InputError
from langneurons.evaluation.forcing import UNSURE, detect


@functools.lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0].capitalize()


def scripts(text: str) -> dict[str, float]:
    """Share of each script among a text's letters, largest first.

    Returns:
        Script (the first word of a letter's Unicode name) to its share; empty without letters.

    Example:
        >>> scripts("Maria रहती")
        {'Latin': 0.625, 'Devanagari': 0.375}
    """
    counts = Counter(_script(letter) for letter in text if letter.isalpha())
    total = sum(counts.values())
    return {script: count / total for script, count in counts.most_common()}


def name_language(text: str, languages: Sequence[str]) -> str:
    """What a text is written in, in a few words.

    Args:
        text: The text.
        languages: Codes to choose from, for lingua (extra ``language-id``).

    Returns:
        A code where lingua is installed, knows all the languages and is sure; else the most
        frequent script and its share of the letters, such as ``Devanagari script (98 %)``.
    """
    found = scripts(text)
    if not found:
        return "no letters"
    if len(languages) > 1 and importlib.util.find_spec("lingua") is not None:
        try:
            (named,) = detect([text], languages)
        except InputError:  # a language that lingua does not know
            named = UNSURE
        if named != UNSURE:
            return named
    script, share = next(iter(found.items()))
    return f"{script} script ({share:.0%})".replace("%", " %")
