"""The two tasks of the built-in world: inference and questions on its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from langneurons.data.tasks.base import TASKS, Example, NLIExample, QAExample, Task
from langneurons.data.tasks.forms import Form
from langneurons.data.tasks.pairs import PairTask
from langneurons.data.tasks.sources import squad_rows
from langneurons.data.tasks.splits import parse_split
from langneurons.data.tasks.squad import PAPER, qa_examples
from langneurons.errors import InputError, unknown

SIZES: Mapping[str, int] = {"train": 6000, "dev": 600, "test": 1000}
"""Examples in each split."""

_LANGUAGES = ("en", "es", "fr", "vi", "hi", "ur", "zh")


class MiniTask(Task):
    """A task whose examples are generated, the same facts in every language.

    Args:
        sizes: Number of examples by split, over :data:`SIZES`.
        seed: Seed of the world's facts.
        **options: ``template``, ``splits``, ``max_tokens``: see :class:`Task`.
    """

    languages = _LANGUAGES

    def __init__(
        self,
        *,
        sizes: Mapping[str, int] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.sizes = {**SIZES, **(sizes or {})}
        self.seed = seed

    def _check(self, lang: str, split: str) -> int:
        if lang not in self.languages:
            raise unknown(f"language of {self.name}", lang, self.languages)
        if split not in self.sizes:
            raise unknown(f"split of {self.name}", split, self.sizes)
        if self.sizes[split] < 1:
            raise InputError(f"{self.name}: size of {split!r} must be at least 1.")
        return self.sizes[split]

    def rules(
        self, lang: str, split: str = "test", limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The rules of ``mini.rules`` on the whole split (``limit`` draws from it); see Task."""
        from langneurons import mini

        part = self._plain(split)
        examples = self._read(lang, part)
        counts = {
            "all": len(examples),
            "two holders": sum(example.extra["holders"] >= 2 for example in examples),
        }
        found = mini.rules(self.name, lang, n=self.sizes[part], seed=self.seed, split=part)
        return [
            {
                "rule": rule,
                "subset": subset,
                "metric": "accuracy" if self.kind == "classification" else "f1",
                "value": values[subset.replace(" ", "_")],
                "n": count,
            }
            for rule, values in found.items()
            for subset, count in counts.items()
        ]

    def _plain(self, split: str) -> str:
        parts = parse_split(self.splits.get(split, split))
        if len(parts) != 1:
            raise InputError(f"rules of {self.name} need a single split, got {split!r}.")
        return parts[0].name

    def describe(self) -> dict[str, Any]:
        """See :meth:`Task.describe`."""
        return {**super().describe(), "sizes": self.sizes, "seed": self.seed}


@TASKS.register("mini-nli")
class MiniNLI(MiniTask):
    """Does the text about a few people entail, leave open or contradict the statement?"""

    name = "mini-nli"
    kind = "classification"
    labels = ("entailment", "neutral", "contradiction")
    context_field = "premise"
    default_template = "{premise}\n{hypothesis}"  # as the world's own texts: ``mini.nli_input``
    forms = PairTask.forms

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        from langneurons import mini

        rows = mini.nli(lang, n=self._check(lang, split), seed=self.seed, split=split)
        return [
            NLIExample(
                id=str(row["id"]),
                group=str(row["group"]),
                premise=row["premise"],
                hypothesis=row["hypothesis"],
                label=self.labels.index(row["label"]),
                extra={"holders": row["holders"]},
            )
            for row in rows
        ]

    def verbalised(self, example: Example, lang: str) -> tuple[tuple[str, str], ...]:
        """Yes, not known or no, as the world's own texts answer such questions."""
        from langneurons.mini.lexicon import LEXICON
        from langneurons.mini.world import LABELS

        words = dict(zip(LABELS, LEXICON[lang].answers, strict=True))
        text = self.encode(example)
        return tuple((text, f"{LEXICON[lang].space}{words[label]}\n") for label in self.labels)


@TASKS.register("mini-qa")
class MiniQA(MiniTask):
    """A question on a text about a few people; the answer is a word or two of the text."""

    name = "mini-qa"
    kind = "qa"
    max_answer_tokens = 12
    context_field = "context"
    default_template = "{context}\n{question}"  # as the world's own texts: ``mini.qa_prompt``
    forms: ClassVar[Mapping[str, Form]] = {"paper": PAPER}

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        from langneurons import mini

        world = mini.qa(lang, n=self._check(lang, split), seed=self.seed, split=split)
        rows = squad_rows(world, self.name)
        return [
            replace(example, extra={**example.extra, "lang": lang}) for example in qa_examples(rows)
        ]

    def target(self, example: Example) -> str:
        """The answer as the world's own texts write it: after a space, where the script has one."""
        from langneurons.mini.lexicon import LEXICON

        assert isinstance(example, QAExample)
        return f"{LEXICON[example.extra['lang']].space}{example.answers[0]}{self.stop}"
