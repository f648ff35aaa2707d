"""In which language questions are answered: keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from langneurons.errors import InputError
from langneurons.interface.context import Context
from langneurons.interface.narrowing import Gone
from langneurons.interface.spec import Spec


class AnswersSpec(Spec):
    """Answers held against those in the training language to the same questions."""

    task: str = Field("xquad", description="A task of questions, the same ones in each language.")
    languages: list[str] | None = Field(None, description="Languages looked at; default: all.")
    shown: int = Field(5, ge=0, description="First questions whose answers are shown.")


def languages(spec: AnswersSpec, context: Context) -> list[str]:
    """Languages whose answers are looked at: those tested, but for the one trained on."""
    there = context.spec_of("tasks")[spec.task].languages or context.languages
    return [
        lang for lang in spec.languages or there if lang in there and lang != context.train_language
    ]


def check(spec: AnswersSpec, context: Context) -> None:
    """Refuse a task and languages that are not of the study.

    Raises:
        InputError: Naming them.
        ValueError: If nothing is overwritten whose answers could be looked at.
    """
    context.known_task("answers", spec.task)
    context.known_languages("answers.languages", spec.languages)
    if context.spec_of("interventions") is None:
        raise ValueError("answers needs `interventions`, under which questions are answered")


def verify(spec: AnswersSpec, context: Context) -> None:
    """Refuse a task without questions.

    Raises:
        InputError: If it has none.
    """
    from langneurons.data.tasks import get_task

    task = get_task(context.spec_of("tasks")[spec.task].source or spec.task)
    if task.kind != "qa":
        raise InputError(
            f"answers.task: {spec.task!r} has no questions, take a task such as xquad."
        )


def examples(spec: AnswersSpec, context: Context) -> Iterator[tuple[str, str, str]]:
    """The gold answers in the training language."""
    yield spec.task, context.train_language, context.spec_of("tasks")[spec.task].split


def narrow(given: Mapping[str, Any], gone: Gone) -> Mapping[str, Any] | None:
    """The languages that are left, of those looked at."""
    return gone.rest(given)
