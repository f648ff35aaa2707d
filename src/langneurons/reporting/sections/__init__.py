"""What stands in the report, in order: sections of sentences, figures and tables.

A section whose tables the run does not have is left out; nothing is shown in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from langneurons.reporting import answer, style
from langneurons.reporting.about import facts
from langneurons.reporting.inputs import Run
from langneurons.reporting.sections import (
    beyond,
    methods,
    neurons,
    paper,
    parts,
    perplexity,
    planning,
    representations,
    tasks,
)
from langneurons.reporting.sections.base import (
    Answer,
    Block,
    Explorer,
    Picture,
    Report,
    Section,
    Tabs,
)
from langneurons.reporting.troubles import troubles
from langneurons.reporting.verdict import verdict

__all__ = [
    "PARTS",
    "Answer",
    "Block",
    "Explorer",
    "Picture",
    "Report",
    "Section",
    "Tabs",
    "compose",
]

PARTS: tuple[Callable[[Run], Iterable[Section]], ...] = (
    neurons.by_layer,
    neurons.shared,
    parts.explorer,
    perplexity.change,
    tasks.overwritten,
    tasks.finetuned,
    perplexity.sweep,
    beyond.single_units,
    beyond.forced,
    beyond.fallen_back,
    beyond.deactivated,
    beyond.crossed,
    beyond.information,
    representations.subspaces,
    representations.features,
    planning.planning,
    parts.others,
    paper.against,
    paper.layout,
)
"""The results in the order shown. A part gives no section where the run has nothing for it."""


def compose(run: Run) -> Report:
    """The report of a run.

    Args:
        run: What :func:`langneurons.reporting.read_run` returns.
    """
    with style.figure_style():
        sections = [section for part in PARTS for section in part(run)]
    findings = [(s.title, s.sentences) for s in sections if s.sentences]
    sections += [methods.methods(run), methods.reproduce(run)]
    return Report(
        title=str(run.info.get("name", run.folder.name)),
        facts=facts(run),
        question=answer.QUESTION,
        verdict=verdict(run),
        findings=findings,
        sections=sections,
        troubles=troubles(run),
    )
