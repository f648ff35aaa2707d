"""Documents of the built-in world: a scene told in sentences, then restated and asked about.

A document is one paragraph of facts followed by lines that go back to them: questions with their
answers, who-questions, yes/no questions (answered yes, no or not known), paraphrases, denials and
more general statements. Each kind makes the reader look a fact up by person *and* relation.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from langneurons.mini import grammar
from langneurons.mini.grammar import Sentence
from langneurons.mini.lexicon import GROUPS, LEXICON
from langneurons.mini.world import LABELS, Claim, Fact, Scene, sample_claim, sample_scene

Span = tuple[int, int]

LINES: dict[str, float] = {
    "ask": 0.34,
    "yes_no": 0.26,
    "who": 0.10,
    "say": 0.14,
    "deny": 0.08,
    "general": 0.08,
}
"""Shares of the kinds of line after the paragraph."""


@dataclass(frozen=True)
class Style:
    """How documents are made.

    Attributes:
        people: chances of one, two, three and four people.
        shared: least and most relations that all people share.
        extra: least and most relations that only some have.
        lines: shares of the kinds of restatement.
        line_count: number of lines after the paragraph.
        join: chance that two neighbouring facts about different people share a sentence.
        names: how many names are in use.
        variety: share of the paraphrases in use; close to zero for one of each.
    """

    people: tuple[float, ...] = (0.04, 0.5, 0.36, 0.1)
    shared: tuple[int, int] = (1, 2)
    extra: tuple[int, int] = (1, 2)
    lines: dict[str, float] = field(default_factory=lambda: dict(LINES))
    line_count: int = 8
    join: float = 0.1
    names: int = 32
    variety: float = 1.0


@dataclass(frozen=True)
class Document:
    """A text and the spans of its answers (what a reader could work out from what came before)."""

    text: str
    answers: tuple[Span, ...]


def draw_scene(rng: random.Random, style: Style) -> Scene:
    """Draw a scene in the proportions of a style."""
    (people,) = rng.choices(range(1, len(style.people) + 1), style.people)
    shared, extra = rng.randint(*style.shared), rng.randint(*style.extra)
    return sample_scene(rng, people, shared, extra, style.names, style.variety)


def paragraph(
    lang: str, facts: tuple[Fact, ...], rng: random.Random | None = None, join: float = 0.0
) -> tuple[str, dict[tuple[int, str], Span]]:
    """Tell facts in one paragraph; also gives where each value stands in it."""
    language = LEXICON[lang]
    text, spans, at = "", {}, 0
    while at < len(facts):
        fact = facts[at]
        first = grammar.statement(lang, fact.person, fact.relation, fact.value, fact.phrasing)
        sentence = grammar.closed(language, first)
        text += language.space if text else ""
        spans[fact.person, fact.relation] = sentence.moved(len(text))
        following = facts[at + 1] if at + 1 < len(facts) else fact
        if rng is not None and following.person != fact.person and rng.random() < join:
            second = grammar.statement(
                lang, following.person, following.relation, following.value, following.phrasing
            )
            head = sentence.text.removesuffix(language.stop) + language.contrast
            spans[following.person, following.relation] = second.moved(len(text) + len(head))
            sentence = Sentence(head + second.text + language.stop, 0, 0)
            at += 1
        text += sentence.text
        at += 1
    return text, spans


def claim_text(lang: str, claim: Claim) -> Sentence:
    """A claim as a statement without its final stop."""
    if claim.general:
        return grammar.general_statement(lang, claim.person, claim.relation, claim.value)
    return grammar.statement(lang, claim.person, claim.relation, claim.value, claim.phrasing)


def _line(
    lang: str, scene: Scene, kind: str, rng: random.Random, variety: float = 1.0
) -> tuple[str, list[Span]]:
    """One restatement of the scene and the spans of its answers."""
    language = LEXICON[lang]
    fact = rng.choice(scene.facts)
    person, relation, value = fact.person, fact.relation, fact.value
    if kind == "yes_no":
        claim = sample_claim(rng, scene, rng.choice(LABELS))
        if claim is None:
            return "", []
        asked = grammar.yes_no(lang, claim_text(lang, claim)) + language.space
        answer = language.answers[LABELS.index(claim.label)]
        return asked + answer, [(len(asked), len(asked) + len(answer))]
    if kind == "ask":
        asked = grammar.question(lang, person, relation, variety * rng.random())
        asked += language.space
        answer = grammar.value_of(lang, relation, value, grammar.is_woman(person))
        return asked + answer, [(len(asked), len(asked) + len(answer))]
    if kind == "who":
        asked = grammar.who_question(lang, person, relation, value) + language.space
        answer = language.names[person]
        return asked + answer, [(len(asked), len(asked) + len(answer))]
    if kind == "general":
        if relation not in GROUPS:
            return "", []
        group = GROUPS[relation][value]
        sentence = grammar.general_statement(lang, person, relation, group)
        return grammar.closed(language, sentence).text, []
    if kind == "say":
        restated = grammar.closed(
            language, grammar.statement(lang, person, relation, value, variety * rng.random())
        )
        # Where the verb comes last, the relation is not known yet when the value is written.
        return restated.text, [] if language.verb_final else [restated.moved(0)]
    claim = sample_claim(rng, scene, "contradiction", general_share=0.0)
    if claim is None:
        return "", []
    denied = grammar.closed(
        language, grammar.denial(lang, claim.person, claim.relation, claim.value)
    )
    true = scene.table[claim.person, claim.relation]
    corrected = grammar.closed(
        language, grammar.statement(lang, claim.person, claim.relation, true, rng.random())
    )
    told = denied.text + language.space
    answers = [] if language.verb_final else [corrected.moved(len(told))]
    return told + corrected.text, answers


def document(lang: str, rng: random.Random, style: Style, other: str | None = None) -> Document:
    """Make a document.

    Args:
        lang: language of the paragraph.
        rng: random stream; the only source of chance.
        style: proportions.
        other: a second language, for a parallel document: the paragraph is followed by the same
            facts in this language, and each line is in one of the two.
    """
    scene = draw_scene(rng, style)
    text, _ = paragraph(lang, scene.facts, rng, style.join)
    if other is not None and rng.random() < 0.5:
        text += "\n" + paragraph(other, scene.facts)[0]
    answers: list[Span] = []
    for kind in rng.choices(list(style.lines), list(style.lines.values()), k=style.line_count):
        tongue = lang if other is None or rng.random() < 0.5 else other
        line, spans = _line(tongue, scene, kind, rng, style.variety)
        if line:
            answers += [(start + len(text) + 1, end + len(text) + 1) for start, end in spans]
            text += "\n" + line
    return Document(text + "\n", tuple(answers))
