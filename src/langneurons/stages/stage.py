"""Steps of a study, each with its own result on disk, and the graph they make."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from langneurons.artifacts import digest


@dataclass(frozen=True)
class Stage:
    """One step with its own result on disk.

    Attributes:
        name: Unique name, such as ``statistics/hi``.
        kind: Which function runs it; a kind that a part registers.
        arguments: The function's arguments, plain JSON values.
        settings: Everything else that determines the result (parts of the study, identities of
            model, text and task data).
        parents: Names of stages whose results it reads.
        output: Its file or folder inside the run directory.
        cost: Rough amount of work, in thousands of tokens passed forward; for the time left.
        beside: Further files and folders that it writes.
        scratch: What it keeps while it works, to resume from; patterns (glob).
        entries: Modules of methods and tasks that it uses, of those that register themselves.
        summary: Whether it sums up what there is: it runs although parents have failed, and its
            last result stands until it has made a new one.
    """

    name: str
    kind: str
    arguments: dict[str, Any]
    settings: dict[str, Any]
    parents: tuple[str, ...]
    output: str
    cost: float = 1.0
    beside: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    summary: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """All files and folders of its result."""
        return (self.output, *self.beside)


@dataclass(frozen=True)
class Plan:
    """Stages in an order in which each comes after its parents, with their keys.

    Attributes:
        stages: The stages.
        keys: Stage to the digest of everything that determines its result, its code included.
        plain: Stage to the same digest without any code.
        code: Stage to the digests of the modules that its kind reaches.
    """

    stages: tuple[Stage, ...]
    keys: dict[str, str] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    code: dict[str, dict[str, str]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


def order(stages: Iterable[Stage]) -> list[str]:
    """Names of stages, each after its parents, and else as they come."""
    waiting = {stage.name: stage.parents for stage in stages}
    graphlib.TopologicalSorter(waiting).prepare()  # refuses a circle
    done: dict[str, None] = {}

    def finish(name: str) -> None:
        if name in waiting and name not in done:
            for parent in waiting[name]:
                finish(parent)
            done[name] = None

    for name in waiting:
        finish(name)
    return list(done)


def keys(laid: Plan, accepted: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The key of every stage.

    Args:
        laid: The plan.
        accepted: Stage to the key of a result that stands whatever code made it; the keys of
            stages that read it follow from that key.
    """
    by_name = {stage.name: stage for stage in laid.stages}
    found: dict[str, str] = {}
    for name in order(laid.stages):
        stage = by_name[name]
        parents = [found[parent] for parent in stage.parents]
        code = sorted(laid.code[name].items())
        found[name] = accepted.get(name) or digest(*own(stage), code, parents)
    return found


def own(stage: Stage) -> tuple[Any, ...]:
    """What a stage itself contributes to its key, but for its code."""
    return stage.kind, stage.arguments, stage.settings
