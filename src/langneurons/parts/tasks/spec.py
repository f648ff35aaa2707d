"""A task of a study: its keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from langneurons.artifacts import expanded
from langneurons.errors import unknown
from langneurons.interface.context import Context
from langneurons.interface.spec import Spec


class TaskSpec(Spec):
    """One task with labels."""

    source: str | None = Field(None, description="Task and where its files lie: NAME or NAME:PATH.")
    template: str | None = Field(
        None,
        description="Input text: the fields of an example and {eos} in braces, or a name (paper: "
        "that of arXiv 2503.17456, with its limit of length); default: the task's own.",
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="Leave out examples of more tokens, in place of shortening their context.",
    )
    languages: list[str] | None = Field(None, description="Languages tested; default: all.")
    limit: int | None = Field(None, ge=1, description="Test examples per language, at most.")
    split: str = Field("test", description="Which split is tested.")
    train_split: str | None = Field(
        None, description="Which split is trained on; default: the recipe's, else train."
    )
    examples: int | None = Field(None, ge=1, description="Training examples, at most.")
    tokens: int = Field(
        100, ge=1, description="Tokens of an example, roughly: for the expected cost alone."
    )
    finetune: dict[str, Any] = Field(
        default_factory=dict, description="Fine-tuning settings of this task alone."
    )

    def told(self) -> str:
        """Where its examples come from."""
        return self.source or ""

    def options(self) -> dict[str, Any]:
        """What the study says of the task's input, as ``get_task`` takes it."""
        return self.model_dump(include={"template", "max_tokens"}, exclude_none=True)


def verify(tasks: Mapping[str, TaskSpec], context: Context) -> None:
    """Refuse unknown tasks, task languages, splits and fine-tuning settings.

    Raises:
        InputError: Naming the first.
    """
    from langneurons.data.tasks import get_task
    from langneurons.data.tasks.splits import parse_split
    from langneurons.finetuning import get_recipe

    for name, spec in tasks.items():
        task = get_task(spec.source or name, **spec.options())
        for lang in spec.languages or context.languages:
            if task.languages and task.own_code(lang) not in task.languages:
                raise unknown(f"language of task {name}", lang, task.languages)
        settings = {**context.finetune, **spec.finetune}
        get_recipe(settings.pop("recipe", None), **settings)
        for split in (spec.split, spec.train_split):
            if split is not None:
                parse_split(split)


def examples(tasks: Mapping[str, TaskSpec], context: Context) -> Iterator[tuple[str, str, str]]:
    """What is tested: task, language and split."""
    for name, spec in tasks.items():
        for lang in spec.languages or context.languages:
            yield name, lang, spec.split


def files(tasks: Mapping[str, TaskSpec], context: Context) -> Iterator[Path]:
    """Where the examples lie, of tasks that say so."""
    for name, spec in tasks.items():
        where = (spec.source or name).partition(":")[2]
        if where:
            yield expanded(where)
