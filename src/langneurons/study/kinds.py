"""Kinds of stages: what does a stage, and which code that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langneurons.interface import part
from langneurons.interface.context import Context
from langneurons.interface.part import Kind, target
from langneurons.interface.results import Results
from langneurons.interface.workshop import Workshop
from langneurons.provenance.code import reach
from langneurons.stages.stage import Stage
from langneurons.study import tables

TABLES = "tables"
"""The one kind that no part brings: it sums up what the parts have made."""


def kinds() -> dict[str, Kind]:
    """Every kind of stage by name."""
    return {**part.kinds(), TABLES: Kind(tables.write, model=False)}


def run(workshop: Workshop, stage: Stage) -> dict[str, str]:
    """Do one stage and write its output into the run directory; returns what it was made with."""
    kinds()[stage.kind].run(workshop, workshop.out / stage.output, **stage.arguments)
    return workshop.made_with()


def run_several(workshop: Workshop, stages: Sequence[Stage]) -> dict[str, str]:
    """Do stages that are :func:`alike` at once; as :func:`run` for each."""
    several = kinds()[stages[0].kind].several
    assert several is not None
    several(workshop, [(workshop.out / stage.output, stage.arguments) for stage in stages])
    return workshop.made_with()


def alike(stage: Stage) -> tuple[Any, ...] | None:
    """What stages have in common that can be done at once; None for one that is done alone."""
    kind = kinds()[stage.kind]
    if kind.several is None:
        return None
    return stage.kind, *(stage.arguments[name] for name in kind.alike)


def reached(stage: Stage) -> dict[str, str]:
    """Digests of the code that a stage's kind reaches, by module."""
    apart = ("langneurons.parts",)  # a kind and its tables are looked into one by one
    run = target(kinds()[stage.kind].run)
    first = reach(run, stage.entries, (Workshop, Context), apart)
    if stage.kind != TABLES:
        return first
    # Every part's tables are made by it; they may reach one module by different names in it.
    more = [
        reach(target(item.tables), (), (Results, Context), apart)
        for item in part.ordered()
        if item.tables
    ]
    found: dict[str, set[str]] = {}
    for reached_by_one in (first, *more):
        for name, digest in reached_by_one.items():
            found.setdefault(name, set()).add(digest)
    return {name: "+".join(sorted(digests)) for name, digests in found.items()}
