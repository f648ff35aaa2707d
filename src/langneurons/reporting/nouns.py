"""What a report calls what it is about: neurons, experts, or units inside experts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from langneurons.reporting.inputs import Run
from langneurons.reporting.sections import Answer, Block, Explorer, Picture, Report, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables import Table

NEURON = "neuron"
_NOUNS = {"moe.router": "expert", "moe.pre": "unit", "moe.act": "unit", "moe.out": "unit"}
_WORD = re.compile(r"(?<![\w-])([Nn])euron(s?)(?![\w-])")


def noun(run: Run) -> str:
    """What the units of a run's sets are called; where sets differ, neurons.

    Args:
        run: Its resolved parameters say where each set lives.
    """
    given = run.info.get("parameters") or {}
    own = (given.get("statistics") or {}).get("site")
    sets: Mapping[str, Any] = given.get("neurons") or {}
    sites = {(spec or {}).get("site") or own for spec in sets.values()} or {own}
    found = {_NOUNS.get(str(site), NEURON) for site in sites}
    return found.pop() if len(found) == 1 else NEURON


def many(site: str) -> str:
    """What units of a site are called, in the plural."""
    return f"{_NOUNS.get(site, NEURON)}s"


def call(text: str, name: str) -> str:
    """A text with the word neuron replaced, in one or many and at a sentence's beginning.

    Args:
        text: What is said of neurons.
        name: What they are; in one, in small letters.
    """
    if name == NEURON:
        return text

    def other(found: re.Match[str]) -> str:
        word = name.capitalize() if found[1] == "N" else name
        return word + found[2]

    return _WORD.sub(other, text)


def called(report: Report, name: str) -> Report:
    """A report in other words; names of sets, files and columns stay.

    Args:
        report: As the parts wrote it, of neurons.
        name: What they are.
    """
    if name == NEURON:
        return report
    answer = report.answer
    return replace(
        report,
        answer=None if answer is None else _answer(answer, name),
        sections=[_section(section, name) for section in report.sections],
        troubles=_said(report.troubles, name),
    )


def _answer(answer: Answer, name: str) -> Answer:
    return replace(
        answer,
        question=call(answer.question, name),
        verdict=_said([answer.verdict], name)[0],
        more=_said(answer.more, name),
        picture=None if answer.picture is None else _picture(answer.picture, name),
    )


def _section(section: Section, name: str) -> Section:
    return replace(
        section,
        title=call(section.title, name),
        sentences=_said(section.sentences, name),
        blocks=[_block(block, name) for block in section.blocks],
        notes=[(term, call(text, name)) for term, text in section.notes],
        links=[(call(text, name), anchor) for text, anchor in section.links],
    )


def _said(sentences: Any, name: str) -> list[Sentence]:
    return [replace(one, text=call(one.text, name)) for one in sentences]


def _block(block: Block, name: str) -> Block:
    if isinstance(block, Tabs):
        panels = [(label, [_shown(item, name) for item in panel]) for label, panel in block.panels]
        return replace(block, panels=panels)
    return block if isinstance(block, Explorer) else _shown(block, name)


def _shown(block: Picture | Table, name: str) -> Picture | Table:
    return _picture(block, name) if isinstance(block, Picture) else _table(block, name)


def _picture(picture: Picture, name: str) -> Picture:
    _rename(picture.figure, name)
    return replace(picture, caption=call(picture.caption, name))


def _rename(figure: Figure, name: str) -> None:
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if _WORD.search(text.get_text()):
            text.set_text(call(text.get_text(), name))


def _table(table: Table, name: str) -> Table:
    columns = [replace(column, label=call(column.label, name)) for column in table.columns]
    return replace(
        table, title=call(table.title, name), caption=call(table.caption, name), columns=columns
    )
