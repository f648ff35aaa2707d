"""Add a task: one class under `@TASKS.register`, and `evaluate` and every study know it.

In the package the class would be a file of its own in `langneurons/data/tasks/`; nothing else has
to be changed. Here it registers itself from outside, on sentences of two languages.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import langneurons as ln
from langneurons.data.tasks import TASKS, ChoiceExample, Example, Task

ROWS = {
    "en": [("The cat sees the dog.", "Who sees?", ("the cat", "the dog"), 0)],
    "es": [("El gato ve al perro.", "¿Quién ve?", ("el gato", "el perro"), 0)],
}


@TASKS.register("who-sees")
class WhoSees(Task):
    """Which of two animals does it? Scored by the likelihood of each choice."""

    name = "who-sees"
    kind = "choice"
    languages = ("en", "es")
    context_field = "context"
    default_template = "{context} {question}"

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        return [
            # Parallel languages share ids, so that they can be compared item by item.
            ChoiceExample(str(number), f"group-{number}", context, question, choices, label)
            for number, (context, question, choices, label) in enumerate(ROWS[lang])
        ]

    def verbalised(self, example: Example, lang: str) -> tuple[tuple[str, str], ...]:
        """The question, and each choice behind it: the likelier one is the model's answer."""
        prefix = self.encode(example)
        assert isinstance(example, ChoiceExample)
        return tuple((prefix, f" {choice}") for choice in example.choices)


def main(folder: Path) -> ln.Scores:
    lm = ln.load("mini")
    scores = ln.evaluate(lm, "who-sees", "es", output=folder / "es.parquet")
    print(scores)
    print(scores.rows.to_string(index=False))
    return scores


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
