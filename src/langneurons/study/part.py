"""What the engine knows of a part of a study: this interface, and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from langneurons.registry import Registry

if TYPE_CHECKING:
    from langneurons.reporting.columns import Columns
    from langneurons.reporting.inputs import Run
    from langneurons.reporting.sections import Answer, Section
    from langneurons.study.spec import Spec


@dataclass(frozen=True)
class Kind:
    """One kind of stage.

    Attributes:
        run: What it does: ``run(workshop, output, **stage.arguments)``.
        model: Whether it reads the model.
    """

    run: Callable[..., None]
    model: bool = True


@dataclass(frozen=True)
class Part:
    """One word of a study file: its keys, its stages, its tables and its section of the report.

    Attributes:
        word: Key in a study file, and name of the part's folder.
        order: Its place in the plan and on the page.
        spec: Its keys; None where the file says nothing of it.
        many: Whether the file holds a mapping from names to specs.
        default: What a file that does not name it stands for.
        check: Refuses what can be known to be wrong before anything runs.
        stages: What is to be done.
        kinds: Kinds of its stages.
        tables: Aggregates from the artifacts, by name.
        columns: Its tables by name, with the columns the page needs; a table that no part claims
            is shown as it is.
        page: Its sections of the report; none where the run has nothing for them.
        answer: The run's answer to a question, where this part can give one; the report shows that
            of the last part that does.
    """

    word: str
    order: int
    spec: type[Spec] | None = None
    many: bool = False
    default: Callable[[], Any] = lambda: None
    check: Callable[..., None] | None = None
    stages: Callable[..., list[Any]] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=lambda: MappingProxyType({}))
    tables: Callable[..., Mapping[str, Any]] | None = None
    columns: Mapping[str, Columns] = field(default_factory=lambda: MappingProxyType({}))
    page: Callable[[Run], Iterable[Section]] | None = None
    answer: Callable[[Run], Answer | None] | None = None


PARTS: Registry[Part] = Registry("part of a study", "langneurons.parts", "langneurons.parts")
"""Parts by word. A subpackage of ``langneurons.parts`` registers itself when it is imported; those
of other distributions are modules named in the entry point group ``langneurons.parts``."""


def add(part: Part) -> Part:
    """Register a part under its word.

    Raises:
        ValueError: If the word is taken.
    """
    return PARTS.register(part.word)(part)


def ordered() -> list[Part]:
    """All parts in the order of plan and page."""
    return sorted((PARTS.get(word) for word in PARTS), key=lambda part: (part.order, part.word))


def later(where: str) -> Callable[..., Any]:
    """A function that is imported when it is first called, so that a part is light to register.

    Args:
        where: ``package.module:function``.
    """
    module, _, name = where.partition(":")

    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*arguments, **named)

    return call
