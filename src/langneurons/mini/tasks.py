"""Texts and tasks of the built-in world, as plain values.

Everything is a pure function of its arguments. The facts behind an example depend on task, split,
seed and index alone, so the same id in two languages is the same example.
"""

from __future__ import annotations

import random
from typing import Any

from langneurons.errors import InputError
from langneurons.mini import grammar
from langneurons.mini.documents import Style, claim_text, document, paragraph
from langneurons.mini.lexicon import LEXICON
from langneurons.mini.world import LABELS, Claim, Scene, sample_claim, sample_scene, stream

LANGUAGES: tuple[str, ...] = tuple(LEXICON)
"""Codes of the languages of the built-in world."""

SPLITS = ("train", "dev", "test")
QUESTIONS_PER_CONTEXT = 3
_STYLE = Style()


def _check(lang: str, split: str, splits: tuple[str, ...]) -> None:
    if lang not in LEXICON:
        raise InputError(
            f"the built-in world has no language {lang!r}: choose among {', '.join(LANGUAGES)}."
        )
    if split not in splits:
        raise InputError(f"no split {split!r}: choose among {', '.join(splits)}.")


def text(lang: str, tokens: int = 20_000, seed: int = 0, split: str = "train") -> list[str]:
    """Monolingual documents of the built-in world.

    Args:
        lang: language code, one of `LANGUAGES`.
        tokens: roughly how many tokens of the built-in tokenizer are wanted; the documents hold
            at least so many.
        seed: another seed gives other documents.
        split: "train" or "heldout"; the two never share a random stream.

    Returns:
        Documents, each a paragraph of facts and lines that go back to them.

    Raises:
        InputError: unknown language or split.
    """
    _check(lang, split, ("train", "heldout"))
    documents: list[str] = []
    held = 0
    while held < tokens:
        made = document(lang, stream("text", split, seed, lang, len(documents)), _STYLE).text
        documents.append(made)
        held += _least_tokens(lang, made)
    return documents


def _least_tokens(lang: str, made: str) -> int:
    """A lower bound of the number of tokens, without loading the tokenizer.

    Names and values of several words are one token, hence fewer tokens than words.
    """
    return len(made) // 3 if not LEXICON[lang].space else int(0.8 * len(made.split()))


def _task_scene(rng: random.Random) -> Scene:
    people = rng.choices((2, 3), (0.65, 0.35))[0]
    return sample_scene(rng, people, rng.choices((1, 2), (0.4, 0.6))[0], rng.choice((1, 2)))


def _labels(rng: random.Random) -> list[str]:
    labels = list(LABELS)
    rng.shuffle(labels)
    return labels


def nli(lang: str, n: int = 1000, seed: int = 0, split: str = "train") -> list[dict[str, Any]]:
    """Mini-NLI: does a premise entail a statement, contradict it, or leave it open?

    The hypothesis is a plain statement ("Maria lives in Rome."), not the yes/no question of the
    world's own documents: with the question the classifier transfers to every language without
    loss, with the statement a gap is left that can be studied. Each premise has one hypothesis of
    each label. A contradiction mostly uses the value of another person of the
    premise, a neutral hypothesis is mostly about a relation that another person has.

    Args:
        lang: language code.
        n: number of rows.
        seed: another seed gives other rows.
        split: "train", "dev" or "test".

    Returns:
        Rows with keys id, lang, premise, hypothesis, label, group (the premise's id, to cluster
        by), holders (how many people of the premise have the asked relation), and person, relation,
        value, general (the claim in the world's own terms), told_values (the values of the asked
        relation in the premise).

    Raises:
        InputError: unknown language or split.
    """
    _check(lang, split, SPLITS)
    rows: list[dict[str, Any]] = []
    index = 0
    while len(rows) < n:
        group = f"mini-nli-{split}-{seed}-{index}"
        rng = stream("mini-nli", split, seed, index)
        index += 1
        scene = _task_scene(rng)
        labels = _labels(rng)
        claims = [_task_claim(rng, scene, label) for label in labels]
        premise, _ = paragraph(lang, scene.facts)
        for position, claim in enumerate(claims):
            rows.append(
                {
                    "id": f"{group}-{position}",
                    "lang": lang,
                    "premise": premise,
                    "hypothesis": grammar.closed(LEXICON[lang], claim_text(lang, claim)).text,
                    "label": claim.label,
                    "group": group,
                    "holders": len(scene.holders(claim.relation)),
                    "person": claim.person,
                    "relation": claim.relation,
                    "value": claim.value,
                    "general": claim.general,
                    "told_values": [
                        scene.table[person, claim.relation]
                        for person in scene.holders(claim.relation)
                    ],
                }
            )
    return rows[:n]


def _task_claim(rng: random.Random, scene: Scene, label: str) -> Claim:
    # A scene of two or three people with a relation that only some have allows every label.
    least = 1 if label == "neutral" or rng.random() < 0.3 else 2
    claim = sample_claim(rng, scene, label, min_holders=least)
    while claim is None:
        claim = sample_claim(rng, scene, label)
    return claim


def qa(lang: str, n: int = 1000, seed: int = 0, split: str = "train") -> dict[str, Any]:
    """Mini-QA: questions for a person's value of a relation, as SQuAD v1.1 JSON.

    Args:
        lang: language code.
        n: number of questions.
        seed: another seed gives other questions.
        split: "train", "dev" or "test".

    Returns:
        ``{"version", "data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}``; each qa
        has id, question, answers (text and answer_start), holders (how many people of the context
        have the asked relation), relation, told (number of facts in the context) and told_values
        (the values of the asked relation in the context).

    Raises:
        InputError: unknown language or split.
    """
    _check(lang, split, SPLITS)
    paragraphs: list[dict[str, Any]] = []
    made = 0
    while made < n:
        name = f"mini-qa-{split}-{seed}-{len(paragraphs)}"
        rng = stream("mini-qa", split, seed, len(paragraphs))
        scene = _task_scene(rng)
        context, spans = paragraph(lang, scene.facts)
        shared = [fact for fact in scene.facts if len(scene.holders(fact.relation)) > 1]
        rest = [fact for fact in scene.facts if len(scene.holders(fact.relation)) == 1]
        asked = rng.sample(shared, min(2, len(shared)))
        asked += rng.sample(rest, min(QUESTIONS_PER_CONTEXT - len(asked), len(rest)))
        entries = []
        for position, fact in enumerate(asked[: n - made]):
            start, end = spans[fact.person, fact.relation]
            entries.append(
                {
                    "id": f"{name}-{position}",
                    "question": grammar.question(lang, fact.person, fact.relation, rng.random()),
                    "answers": [{"text": context[start:end], "answer_start": start}],
                    "holders": len(scene.holders(fact.relation)),
                    "relation": fact.relation,
                    "told": len(scene.facts),
                    "told_values": [
                        context[slice(*spans[other.person, other.relation])]
                        for other in scene.facts
                        if other.relation == fact.relation
                    ],
                }
            )
        made += len(entries)
        paragraphs.append({"context": context, "qas": entries})
    return {
        "version": "1.1",
        "data": [{"title": f"mini-{lang}-{split}-{seed}", "paragraphs": paragraphs}],
    }


def nli_input(row: dict[str, Any]) -> str:
    """The text a classifier reads: the premise, and on a new line the hypothesis."""
    return f"{row['premise']}\n{row['hypothesis']}"


def qa_prompt(context: str, question: str, lang: str) -> str:
    """The text after which the model writes the answer and a new line.

    In a language with spaces the answer begins with the space that parts it from the question.
    """
    _check(lang, "test", SPLITS)
    return f"{context}\n{question}"
