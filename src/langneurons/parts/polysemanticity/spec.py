"""What a language's units say about a task: keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from langneurons.interface.context import Context
from langneurons.interface.spec import Spec, Value


class PolysemanticitySpec(Spec):
    """What a language's units say about a task, and what overwriting each of them costs."""

    neurons: str = Field("lape", description="Neuron set.")
    languages: list[str] = Field(min_length=1, description="Languages looked at.")
    task: str = Field(description="A task of classes, named in `tasks`.")
    split: str = Field("dev", description="Split on which information is measured.")
    examples: int = Field(300, ge=10, description="Examples of it, at most.")
    test_split: str = Field("test", description="Split on which harm is measured.")
    tested: int = Field(30, ge=0, description="Examples of it; 0: no harm is measured.")
    value: Value = Field("zero", description="Value written over one unit at a time.")
    matched: int = Field(3, ge=1, description="Draws of units of the same activity.")
    harm_units: int = Field(40, ge=1, description="Own and matched units overwritten, each.")
    pool: Literal["last", "mean"] = Field(
        "last", description="An example's activation: at its last token, or the mean."
    )
    threshold: float = Field(
        0.2, ge=0, le=1, description="Separation from which a unit carries language information."
    )


def check(spec: PolysemanticitySpec, context: Context) -> None:
    """Refuse languages, sets and a task that are not of the study."""
    context.known_languages("polysemanticity.languages", spec.languages)
    context.known_sets("polysemanticity", spec.neurons)
    context.known_task("polysemanticity", spec.task)


def examples(spec: PolysemanticitySpec, context: Context) -> Iterator[tuple[str, str, str]]:
    """What is read: task, language and split."""
    for lang in spec.languages:
        yield spec.task, lang, spec.split
        if spec.tested:
            yield spec.task, lang, spec.test_split
