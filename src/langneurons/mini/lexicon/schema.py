"""What a language of the built-in world has to supply.

A template is a sentence without its final stop, written in lower case where the language would not
capitalise the word in mid-sentence. Marks inside a template:

* ``{P}`` the person, ``{V}`` the value, ``{G}`` the group a value belongs to,
* ``{C}`` a word that goes with the value (a classifier, or the verb that the value takes),
* ``<m|f>`` two forms, for a man and for a woman. A value may be written ``m|f`` likewise.
"""

from __future__ import annotations

from dataclasses import dataclass

RELATIONS: tuple[str, ...] = (
    "city",
    "job",
    "food",
    "animal",
    "drink",
    "sport",
    "hour",
    "car",
    "language",
    "age",
)
"""The relations a person of the world can have, each at most once."""

GROUPS: dict[str, tuple[int, ...]] = {
    "city": (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2),
    "job": (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3),
    "food": (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2),
    "animal": (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1),
}
"""For the relations with a more general restatement: the group of each value."""

SIZES: dict[str, int] = {
    "city": 12,
    "job": 12,
    "food": 12,
    "animal": 12,
    "drink": 7,
    "sport": 8,
    "hour": 6,
    "car": 8,
    "language": 8,
    "age": 8,
}
"""Number of values of each relation."""

AGES: tuple[str, ...] = ("20", "25", "30", "35", "40", "45", "50", "60")
"""Ages are written in digits in every language."""

LATIN_NAMES: tuple[str, ...] = (
    *("Maria", "Sara", "Nina", "Laura", "Clara", "Julia", "Sonia", "Rosa"),
    *("Lina", "Diana", "Layla", "Mina", "Zara", "Tara", "Fatima", "Priya"),
    *("Lucas", "David", "Daniel", "Marco", "Victor", "Martin", "Tom", "Peter"),
    *("Karim", "Samir", "Ravi", "Kabir", "Leo", "Max", "Simon", "Felix"),
)
"""Names as written in the Latin script: sixteen women, then sixteen men.

None begins with a vowel or a mute *h*, so that French needs no elision before a name.
"""

WOMEN = 16


@dataclass(frozen=True, slots=True)
class Relation:
    """How one language speaks of one relation."""

    values: tuple[str, ...]
    say: tuple[str, ...]
    deny: str
    ask: tuple[str, ...]
    who: str
    say_group: str = ""
    groups: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the world.

    Attributes:
        code: ISO 639-1 code.
        names: one spelling per person, in the order of `LATIN_NAMES`.
        stop: the mark that ends a statement.
        question: frame of a question word question; ``{S}`` is the sentence, capitalised.
        yes_no: frame of a yes/no question; ``{S}`` capitalised or ``{s}`` as in mid-sentence.
        answers: the words for yes, no and not known.
        contrast: what joins two statements about different people.
        space: what stands between sentences, and between a question and its answer.
        words: for a script without spaces, words that the tokenizer keeps whole.
        verb_final: whether the value is said before the relation is clear.
    """

    code: str
    names: tuple[str, ...]
    stop: str
    question: str
    yes_no: str
    answers: tuple[str, str, str]
    contrast: str
    relations: dict[str, Relation]
    space: str = " "
    words: tuple[str, ...] = ()
    verb_final: bool = False
