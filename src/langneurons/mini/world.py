"""The facts of the built-in world, independent of any language.

A scene is a handful of people who *share the same relations* with different values, plus relations
that only some of them have. A question about a scene can therefore be answered only by looking up
whose fact is asked for. Scenes are pure functions of a random stream.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from langneurons.mini.lexicon import GROUPS, LEXICON, RELATIONS, SIZES

LABELS = ("entailment", "contradiction", "neutral")
"""Labels in the order of `Language.answers`: yes, no, not known."""

_NAMES = len(LEXICON["en"].names)


@dataclass(frozen=True, slots=True)
class Fact:
    """One person's value of one relation; `phrasing` in [0, 1) chooses how it is said."""

    person: int
    relation: str
    value: int
    phrasing: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Something said of a person in a scene: true, false or not known.

    `general` says that `value` is the index of a group of values rather than of a value.
    """

    person: int
    relation: str
    value: int
    general: bool
    label: str
    phrasing: float


@dataclass(frozen=True)
class Scene:
    """People and what is said about them, in the order of telling."""

    people: tuple[int, ...]
    facts: tuple[Fact, ...]
    table: dict[tuple[int, str], int] = field(compare=False)

    def holders(self, relation: str) -> list[int]:
        """The people of whom this relation is told."""
        return [person for person in self.people if (person, relation) in self.table]


def stream(*key: object) -> random.Random:
    """A random stream that is a pure function of its key, the same on every platform."""
    return random.Random("/".join(map(str, key)))


def sample_scene(
    rng: random.Random,
    people: int,
    shared: int,
    extra: int,
    names: int = _NAMES,
    variety: float = 1.0,
) -> Scene:
    """Draw a scene.

    Args:
        rng: random stream; the only source of chance.
        people: number of people, at least one.
        shared: number of relations that every person has.
        extra: number of relations that only some of the people have (one person alone has them
            where there is only one).
        names: how many of the names are in use, as many women's as men's.
        variety: share of the paraphrases in use.
    """
    chosen = tuple(rng.sample(range(0, _NAMES, _NAMES // names), people))
    relations = rng.sample(RELATIONS, shared + extra)
    table: dict[tuple[int, str], int] = {}
    for position, relation in enumerate(relations):
        holders: Sequence[int] = chosen
        if position >= shared and people > 1:
            holders = rng.sample(chosen, rng.randint(1, people - 1))
        values = rng.sample(range(SIZES[relation]), len(holders))
        table.update({(p, relation): v for p, v in zip(holders, values, strict=True)})
    keys = list(table)
    rng.shuffle(keys)
    order = rng.random()
    if order < 0.4:
        keys.sort(key=lambda key: chosen.index(key[0]))
    elif order < 0.7:
        keys.sort(key=lambda key: relations.index(key[1]))
    facts = tuple(Fact(p, r, table[p, r], variety * rng.random()) for p, r in keys)
    return Scene(chosen, facts, table)


def sample_claim(
    rng: random.Random,
    scene: Scene,
    label: str,
    general_share: float = 0.15,
    other_share: float = 0.75,
    min_holders: int = 1,
) -> Claim | None:
    """Draw a claim with the wanted label, or None where the scene has none.

    A false claim takes the value of *another person* of the scene with chance `other_share`, and
    an undecided one is about a relation that another person has with the same chance: reading the
    value or the relation alone does not give the answer away.

    Args:
        rng: random stream.
        scene: the scene.
        label: one of `LABELS`.
        general_share: share of claims about the group of a value, where the relation has groups.
        other_share: see above.
        min_holders: only relations that at least so many people of the scene have (ignored for an
            undecided claim about a relation that nobody has).
    """
    told = [r for r in RELATIONS if len(scene.holders(r)) >= max(1, min_holders)]
    from_others = rng.random() < other_share
    if label == "neutral":
        if from_others:
            pairs = [(p, r) for r in told for p in scene.people if (p, r) not in scene.table]
        else:
            pairs = [(p, r) for r in RELATIONS if not scene.holders(r) for p in scene.people]
    else:
        pairs = [(p, r) for r in told for p in scene.holders(r)]
    if not pairs:
        return None
    person, relation = rng.choice(pairs)
    own = scene.table.get((person, relation))
    others = [scene.table[p, relation] for p in scene.holders(relation) if p != person]
    general = relation in GROUPS and rng.random() < general_share
    kind = GROUPS[relation] if general else tuple(range(SIZES[relation]))
    candidates = sorted(set(kind))
    true = kind[own] if own is not None else None
    if label == "entailment" and true is not None:
        value = true
    else:
        wrong = [v for v in candidates if v != true]
        near = sorted({kind[v] for v in others} - {true})
        value = rng.choice(near if near and from_others else wrong)
    return Claim(person, relation, value, general, label, rng.random())
