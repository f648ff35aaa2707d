"""Two small tasks with a rule a tiny model can learn in seconds, for the fine-tuning tests."""

from __future__ import annotations

from collections.abc import Sequence

from langneurons.data.tasks import Example, NLIExample, QAExample, Task

WORDS = ("cat", "dog", "the", "and")


class Classes(Task):
    """The label is the last letter of the text; lengths differ."""

    name = "letters"
    kind = "classification"
    labels = ("a", "b", "c")
    languages = ("en", "hi")
    context_field = "premise"
    default_template = "{premise} | {hypothesis}"
    size = 48

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        shift = {"train": 0, "dev": 1, "test": 2}[split] + (10 if lang == "hi" else 0)
        return [
            NLIExample(
                id=str(i),
                group=str(i // 3),
                premise=" ".join(WORDS[(i + j + shift) % 4] for j in range(1 + i % 6)),
                hypothesis="abc"[i % 3] if lang == "en" else "abc"[i % 3] + "!",
                label=i % 3,
            )
            for i in range(self.size)
        ]


class Answers(Task):
    """The answer is the letter of the question, twice."""

    name = "echo"
    kind = "qa"
    languages = ("en", "hi")
    context_field = "context"
    default_template = "{context} Q {question} A"
    size = 48

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        return [
            QAExample(
                id=str(i),
                group=str(i // 3),
                context=" ".join(WORDS[(i + j) % 4] for j in range(1 + i % 6)),
                question="abcd"[i % 4],
                answers=("abcd"[i % 4] * (1 + i % 3),),
            )
            for i in range(self.size)
        ]
