"""What the stages of the steering protocol do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from langneurons.artifacts import read_table, write_table
from langneurons.evaluation.steering import (
    Applied,
    Question,
    answer_losses,
    asking,
    dealt,
    harmonic,
    questions,
    scored,
    written,
)
from langneurons.interface.workshop import Workshop
from langneurons.parts.steering.ways import Setting, settings
from langneurons.progress import track

SMALL = 2
"""Blocks of text on which it is measured how far a stream is moved."""


def prompts(workshop: Workshop, output: Path, language: str) -> None:
    """Answers without steering: as asked, asked to answer in the language, and asked in it."""
    asked = _Asked(workshop, language)
    texts = {
        "untouched": [asked.task.encode(item.asked) for item in asked.all],
        "instruction": [asked.task.encode(asking(item.asked, language)) for item in asked.all],
        "in the language": [asked.task.encode(item.target) for item in asked.all],
    }
    answers = {way: asked.answers(given) for way, given in texts.items()}
    own = asked.spec.reference == "own"
    references = [
        [answer] if own else list(item.target.answers)
        for answer, item in zip(answers["in the language"], asked.all, strict=True)
    ]
    tables = []
    for way, given in answers.items():
        rows = asked.scored(given, asked.all, references)
        if own and way == "in the language":  # held against itself
            rows = rows.assign(relevance=float("nan"), chance=float("nan"))
        rows["answer_loss"] = asked.losses(asked.all, texts[way])
        rows["reference"] = [given[0] if given else "" for given in references]
        choosing = [n < len(asked.choose) for n in range(len(rows))]
        tables.append(
            rows.assign(way=way, kind="none", seed=0, language=language, choosing=choosing)
        )
    write_table(output, pd.concat(tables, ignore_index=True))


def steered(workshop: Workshop, output: Path, way: str, language: str) -> None:
    """Choose strength and layer on some questions, test them and their controls on others."""
    asked = _Asked(workshop, language)
    spec, source = asked.spec, asked.spec.source
    known = read_table(workshop.out / "steering" / "prompts" / f"{language}.parquet")
    plain = known[known["way"] == "untouched"].set_index("id")
    reference = known[known["way"] == "in the language"].set_index("id")["answer"]

    def references(items: list[Question]) -> list[list[str]]:
        if spec.reference == "own":
            return [[reference[item.id]] for item in items]
        return [list(item.target.answers) for item in items]

    about = {"way": way, "language": language}
    tried = settings(workshop, spec.ways[way], language, source)
    rows = []
    with track(f"{way}, {language}: settings", len(tried), "settings") as bar:
        for setting in tried:
            given = asked.answers(asked.texts(asked.choose), setting.applied)
            found = asked.scored(given, asked.choose, references(asked.choose))
            forcing, relevance = found["forced"].mean(), found["relevance"].mean()
            rows.append(
                {
                    **about,
                    "layer": setting.layer,
                    "strength": setting.strength,
                    "n": len(found),
                    "forcing": forcing,
                    "relevance": relevance,
                    "score": float(harmonic(forcing, relevance)),
                }
            )
            bar.advance()
    choice = pd.DataFrame(rows)
    # The first of equals, which is the mildest.
    best = int(choice["score"].fillna(0).to_numpy().argmax())
    write_table(output / "choice.parquet", choice.assign(chosen=choice.index == best))
    tables, costs = [], []
    blocks = {
        "target": workshop.held_out_blocks(language),
        "source": workshop.held_out_blocks(source),
    }
    untouched = {name: workshop.untouched(lang) for name, lang in
                 (("target", language), ("source", source))}  # fmt: skip
    total = 1 + spec.random + spec.matched
    with track(f"{way}, {language}: tested", total, "draws") as bar:
        for kind, seed, factor, applied in _with_controls(workshop, tried[best], blocks["source"]):
            given = asked.answers(asked.texts(asked.test), applied)
            found = asked.scored(given, asked.test, references(asked.test))
            found["answer_loss"] = asked.losses(asked.test, asked.texts(asked.test), applied)
            found["answer_loss_change"] = (
                found["answer_loss"].to_numpy()
                - plain["answer_loss"].reindex(found["id"]).to_numpy()
            )
            found["reference"] = [given[0] if given else "" for given in references(asked.test)]
            tables.append(found.assign(**about, kind=kind, seed=seed, choosing=False))
            cost: dict[str, Any] = {**about, "kind": kind, "seed": seed, "factor": factor}
            for name, text in blocks.items():
                cost |= _cost(workshop, name, text, untouched[name], applied)
            costs.append(cost)
            bar.advance()
    write_table(output / "answers.parquet", pd.concat(tables, ignore_index=True))
    write_table(output / "cost.parquet", pd.DataFrame(costs))


def _with_controls(
    workshop: Workshop, setting: Setting, text: Any
) -> Iterator[tuple[str, int, float, Applied]]:
    spec = workshop.context.spec_of("steering")
    yield "own", 0, 1.0, setting.applied
    yield from setting.controls(spec.random, spec.matched, text[: min(SMALL, len(text))])


def _cost(
    workshop: Workshop, name: str, text: Any, untouched: Any, applied: Applied
) -> dict[str, float]:
    """Perplexity of text under the same steering, as a ratio to untouched."""
    from langneurons.evaluation import loss_ratio, perplexity

    with applied():
        touched = perplexity(workshop.lm, text)
    found = loss_ratio(touched, untouched)
    return {
        f"{name}_ratio": float(found["ratio"]),
        f"{name}_low": float(found["low"]),
        f"{name}_high": float(found["high"]),
    }


class _Asked:
    """The questions of one target language, and how answers to them are written and scored."""

    def __init__(self, workshop: Workshop, language: str) -> None:
        self._workshop, self._language = workshop, language
        self.spec = workshop.context.spec_of("steering")
        self.task = workshop.task(self.spec.prompts)
        split = workshop.context.spec_of("tasks")[self.spec.prompts].split
        self.choose, self.test = dealt(
            questions(self.task, self.spec.source, language, split),
            self.spec.choose,
            self.spec.test,
            workshop.context.seed,
        )
        self.all = [*self.choose, *self.test]

    def texts(self, items: list[Question]) -> list[str]:
        """Prompts as asked."""
        return [self.task.encode(item.asked) for item in items]

    def answers(self, texts: list[str], applied: Applied = contextlib.nullcontext) -> list[str]:
        """What the model writes."""
        return written(
            self._workshop.lm,
            texts,
            applied,
            max_new_tokens=self.spec.new_tokens,
            chat=self.spec.chat,
            stop=self.task.stop,
        )

    def scored(
        self, given: list[str], items: list[Question], references: list[list[str]]
    ) -> pd.DataFrame:
        """Rows of the answers, with the question's id."""
        languages = self._workshop.context.languages
        rows = scored(given, references, languages, self._language)
        rows.insert(0, "id", [item.id for item in items])
        return rows

    def losses(
        self, items: list[Question], texts: list[str], applied: Applied = contextlib.nullcontext
    ) -> Any:
        """Loss of the gold answer in the target language behind each prompt."""
        gold = [item.target.answers[0] if item.target.answers else "" for item in items]
        return answer_losses(self._workshop.lm, texts, gold, applied)
