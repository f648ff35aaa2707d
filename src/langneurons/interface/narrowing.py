"""What of a part's words is left when languages are taken out of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from langneurons.errors import InputError
from langneurons.intervention.words import parse


@dataclass(frozen=True)
class Gone:
    """What a study is to do without.

    Attributes:
        languages: Languages that were taken away.
        names: What went with them: a column that holds the names of a part's many (``neurons``,
            ``task``; see :class:`langneurons.interface.part.Part`) to those names.
    """

    languages: frozenset[str]
    names: dict[str, set[str]] = field(default_factory=dict)

    def language(self, word: object) -> bool:
        """Whether a word is a language that is gone."""
        return str(word) in self.languages

    def any_language(self, words: object) -> bool:
        """Whether a list of words has a language that is gone."""
        return isinstance(words, list) and any(map(self.language, words))

    def value(self, word: object) -> bool:
        """Whether a value is the statistic of a language that is gone (``mean@hi@last``)."""
        try:
            return parse(str(word)).language in self.languages
        except InputError:
            return False

    def named(self, column: str, name: object) -> bool:
        """Whether a name is of what is gone."""
        return str(name) in self.names.get(column, ())

    def rest(
        self, given: Mapping[str, Any], more: Mapping[str, Callable[[Any], bool]] | None = None
    ) -> dict[str, Any] | None:
        """A part with the entries of its lists taken out that are about what is gone.

        Looked at are ``languages``, ``value``, ``values``, and keys called as the columns of
        :attr:`names`.

        Args:
            given: The part as in the file, unchecked.
            more: Further keys, each with what says whether an entry goes.

        Returns:
            The part; None where one of its lists ends empty, or its only value goes.
        """
        kept = dict(given)
        goes: dict[str, Callable[[Any], bool]] = {
            "languages": self.language,
            "value": self.value,
            "values": self.value,
            **(more or {}),
        }
        for column in self.names:
            goes.setdefault(column, partial(self.named, column))
        for key, out in goes.items():
            found = kept.get(key)
            if isinstance(found, list):
                kept[key] = [item for item in found if not out(item)]
                if found and not kept[key]:
                    return None
            elif isinstance(found, str) and out(found):
                return None
        return kept
