"""From a fact to a sentence: fills the templates of a language.

Every function returns the text together with the character span of the value in it, so that an
answer's place in a document is known rather than searched for.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from langneurons.mini.lexicon import LEXICON, WOMEN, Language

_FORMS = re.compile(r"<([^|<>]*)\|([^|<>]*)>")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and the half-open character span of the value (or name) it is about."""

    text: str
    start: int
    end: int

    def moved(self, offset: int) -> tuple[int, int]:
        """The span after the sentence has been placed at `offset`."""
        return self.start + offset, self.end + offset


def is_woman(person: int) -> bool:
    """Whether the name at this index is a woman's."""
    return person < WOMEN


@functools.cache
def _agree(template: str, woman: bool) -> str:
    return _FORMS.sub(lambda match: match.group(2 if woman else 1), template)


@functools.cache
def value_of(lang: str, relation: str, value: int, woman: bool) -> str:
    """The word for a value, in the form that suits the person it is said of."""
    man_form, _, woman_form = LEXICON[lang].relations[relation].values[value].partition("|")
    return woman_form if woman and woman_form else man_form


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


@functools.lru_cache(maxsize=400_000)
def _fill(lang: str, relation: str, template: str, person: int, value: int, gap: str) -> Sentence:
    """Fill a template; the span is that of `gap` ("{V}", "{G}" or "{P}"; empty when absent)."""
    language = LEXICON[lang]
    forms = language.relations[relation]
    woman = is_woman(person)
    # A question "who" has no subject whose gender is known: verbs take the default (masculine).
    agreed = _agree(template, woman and "{P}" in template)
    fillers = {"{P}": language.names[person]}
    if "{V}" in agreed:
        fillers["{V}"] = value_of(lang, relation, value, woman)
    if "{G}" in agreed:
        fillers["{G}"] = forms.groups[value]
    if "{C}" in agreed:
        fillers["{C}"] = forms.companions[value]
    text, start, end = "", 0, 0
    for piece in re.split(r"(\{[PVGC]\})", agreed):
        filled = fillers.get(piece, piece)
        if piece == gap:
            start, end = len(text), len(text) + len(filled)
        text += filled
    return Sentence(text, start, end)


def _pick(options: tuple[str, ...], chance: float) -> str:
    return options[int(chance * len(options))]


def statement(lang: str, person: int, relation: str, value: int, phrasing: float) -> Sentence:
    """State a fact, without the final stop. `phrasing` in [0, 1) chooses the paraphrase."""
    template = _pick(LEXICON[lang].relations[relation].say, phrasing)
    return _fill(lang, relation, template, person, value, "{V}")


def general_statement(lang: str, person: int, relation: str, group: int) -> Sentence:
    """State a fact by the group of its value ("works in medicine"), without the final stop."""
    return _fill(lang, relation, LEXICON[lang].relations[relation].say_group, person, group, "{G}")


def denial(lang: str, person: int, relation: str, value: int) -> Sentence:
    """State that a value does not hold, without the final stop."""
    return _fill(lang, relation, LEXICON[lang].relations[relation].deny, person, value, "{V}")


def question(lang: str, person: int, relation: str, phrasing: float) -> str:
    """Ask for the value of a person's relation."""
    language = LEXICON[lang]
    template = _pick(language.relations[relation].ask, phrasing)
    body = _fill(lang, relation, template, person, 0, "").text
    return language.question.replace("{S}", _capitalised(body))


def who_question(lang: str, holder: int, relation: str, value: int) -> str:
    """Ask who holds a value (a value with two genders is named in the holder's)."""
    language = LEXICON[lang]
    body = _fill(lang, relation, language.relations[relation].who, holder, value, "").text
    return language.question.replace("{S}", _capitalised(body))


def yes_no(lang: str, claim: Sentence) -> str:
    """Ask whether a statement is true."""
    frame = LEXICON[lang].yes_no
    return frame.replace("{S}", _capitalised(claim.text)).replace("{s}", claim.text)


def closed(language: Language, sentence: Sentence) -> Sentence:
    """A statement as a sentence of its own: capital letter and final stop."""
    return Sentence(_capitalised(sentence.text) + language.stop, sentence.start, sentence.end)
