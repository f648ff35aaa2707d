"""What the engine knows of a part of a study: this interface, and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from langneurons.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from langneurons.interface.context import Context
    from langneurons.interface.narrowing import Gone
    from langneurons.interface.results import Results
    from langneurons.interface.spec import Spec
    from langneurons.models.size import Size
    from langneurons.reporting.columns import Columns
    from langneurons.reporting.inputs import Run
    from langneurons.reporting.sections import Answer, Section
    from langneurons.stages.stage import Stage


@dataclass(frozen=True)
class Kind:
    """One kind of stage.

    Attributes:
        run: What it does: ``run(workshop, output, **stage.arguments)``.
        model: Whether it reads the model.
        predicts: Whether the next token is predicted at most positions, which multiplies with the
            whole vocabulary.
        several: Does several stages of the kind with one piece of work:
            ``several(workshop, [(output, stage.arguments), ...])``; each leaves what it leaves when
            it is done alone.
        alike: Arguments in which stages must be alike for that.
    """

    run: Callable[..., None]
    model: bool = True
    predicts: bool = False
    several: Callable[..., None] | None = None
    alike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Takes:
    """What a part of a study takes, in bytes.

    Attributes:
        memory: Beside the model, at its peak.
        disk: In the run directory, at the end.
    """

    memory: float = 0.0
    disk: float = 0.0


@dataclass(frozen=True)
class Part:
    """One word of a study file: its keys, its stages, its tables and its section of the report.

    Attributes:
        word: Key in a study file, and name of the part's folder.
        order: Its place in the plan and on the page.
        spec: Its keys; None where the file says nothing of it.
        many: Whether the file holds a mapping from names to specs.
        noun: What one of many is called in messages, such as ``neuron set``.
        default: What a file that does not name it stands for; plain values as in a file.
        check: ``check(spec, context)`` refuses what does not fit together in the file.
        verify: ``verify(spec, context)`` refuses what else can be known before anything runs:
            methods, sites, tasks, settings.
        files: ``files(spec, context)``: files and folders of this machine that its stages read.
        narrow: ``narrow(given, gone)``: what is left of its words (of one of its many) without
            some languages, as :meth:`langneurons.interface.narrowing.Gone.rest` tells it, or
            None; for parts with other words than that looks at.
        examples: ``examples(spec, context)``: (task, language, split) of what it will read.
        sites: ``sites(spec, context)``: where it needs statistics.
        repeat: ``repeat(given, seeds)``: its words of the file, spelt out for so many seeds.
        stages: ``stages(spec, context)``: what is to be done.
        kinds: Kinds of its stages.
        takes: ``takes(spec, context, size, stages)``: memory and disk.
        names: Columns of tables that hold the names of its many, and their rank among the columns
            that rows are sorted by.
        tables: ``tables(results)``: aggregates from the artifacts, by name.
        columns: Its tables by name, with the columns the page needs; a table that no part claims
            is shown as it is.
        figure: How the name of its figure begins that stands for a whole run.
        page: Its sections of the report; none where the run has nothing for them.
        answer: The run's answer to a question, where this part can give one; the report shows that
            of the last part that does.
    """

    word: str
    order: int
    spec: type[Spec] | None = None
    many: bool = False
    noun: str = ""
    default: Callable[[], Any] = lambda: None
    check: Callable[[Any, Context], None] | None = None
    verify: Callable[[Any, Context], None] | None = None
    files: Callable[[Any, Context], Iterable[Path]] | None = None
    narrow: Callable[[Mapping[str, Any], Gone], Mapping[str, Any] | None] | None = None
    examples: Callable[[Any, Context], Iterable[tuple[str, str, str]]] | None = None
    sites: Callable[[Any, Context], Iterable[str]] | None = None
    repeat: Callable[[Any, int], Any] | None = None
    stages: Callable[[Any, Context], list[Stage]] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=lambda: MappingProxyType({}))
    takes: Callable[[Any, Context, Size, Sequence[Stage]], Takes] | None = None
    names: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    tables: Callable[[Results], Mapping[str, pd.DataFrame]] | None = None
    columns: Mapping[str, Columns] = field(default_factory=lambda: MappingProxyType({}))
    figure: str = ""
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


def kinds() -> dict[str, Kind]:
    """Every kind of stage that a part has."""
    return {name: kind for part in ordered() for name, kind in part.kinds.items()}


@dataclass(frozen=True)
class Later:
    """A function that is imported when it is first called.

    Attributes:
        where: ``package.module:function``.
    """

    where: str

    @property
    def target(self) -> Callable[..., Any]:
        """The function itself."""
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Import it, and call it."""
        return self.target(*arguments, **named)


def later(where: str) -> Callable[..., Any]:
    """A function that is imported when it is first called, so that a part is light to register.

    Args:
        where: ``package.module:function``.
    """
    return Later(where)


_PLACES = {
    **dict.fromkeys(("check", "verify", "files", "narrow", "examples", "sites", "repeat"), "spec"),
    "stages": "stages",
    "takes": "cost",
    "tables": "tables",
    "answer": "answer",
}
"""Function of a part to the module of its folder that holds it under the same name."""


def functions(package: str, words: str) -> dict[str, Any]:
    """Functions of a part by name, each imported from its usual place when it is first called.

    Args:
        package: The part's folder, as ``__name__`` says it in the folder's own file.
        words: Which functions of :class:`Part` it has, with spaces between: those of a study file
            from ``spec.py``, ``stages``, ``tables`` and ``answer`` from files of their names,
            ``takes`` from ``cost.py``, and ``page``, called ``sections`` there, from ``page.py``.
    """
    places = {word: f"{module}:{word}" for word, module in _PLACES.items()}
    places["page"] = "page:sections"
    return {word: later(f"{package}.{places[word]}") for word in words.split()}


def target(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that stands behind :func:`later`, or the function itself."""
    return function.target if isinstance(function, Later) else function
