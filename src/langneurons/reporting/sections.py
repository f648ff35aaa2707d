"""What a report is made of: pictures and tables, tabs of them, and sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting.explorer.data import UnitSet
from langneurons.reporting.names import slug
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables import Table


@dataclass(frozen=True)
class Picture:
    """A figure with its file name and its caption for a paper."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Tabs:
    """Alternatives of which one is seen at a time (all of them in print)."""

    name: str
    panels: Sequence[tuple[str, Sequence[Picture | Table]]]


@dataclass(frozen=True)
class Explorer:
    """The interactive view of single units."""

    sets: Sequence[UnitSet]


Block = Picture | Table | Tabs | Explorer


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Attributes:
        name: Its anchor.
        title: Its heading.
        sentences: What its tables say.
        blocks: Figures, tables and tabs.
        notes: Definitions, as (term, text).
        code: A command to be copied.
        links: Figures and tables of other sections that belong here too, as (text, anchor); those
            the report does not have are left out.
    """

    name: str
    title: str
    sentences: Sequence[Sentence] = ()
    blocks: Sequence[Block] = ()
    notes: Sequence[tuple[str, str]] = ()
    code: str | None = None
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Answer:
    """A run's answer to the question it was made for: the first screen of the page.

    Attributes:
        question: The question.
        verdict: The answer in one sentence, with size and place.
        more: Three sentences at most.
        picture: The one figure that carries the verdict; None where nothing was measured.
    """

    question: str
    verdict: Sentence
    more: Sequence[Sentence] = ()
    picture: Picture | None = None


@dataclass(frozen=True)
class Report:
    """Everything the page shows.

    Attributes:
        title: The run's name.
        facts: Short facts under the title, as (term, text).
        answer: The question asked and its answer; None where no part has one.
        sections: The sections in order.
        troubles: What went wrong in the run; stands above all else.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    answer: Answer | None
    sections: Sequence[Section] = field(default_factory=list)
    troubles: Sequence[Sentence] = ()

    def pictures(self) -> list[Picture]:
        """All figures, also those in tabs."""
        return [block for block in self._flat() if isinstance(block, Picture)]

    def tables(self) -> list[Table]:
        """All tables, also those in tabs."""
        return [block for block in self._flat() if isinstance(block, Table)]

    def unit_sets(self) -> list[UnitSet]:
        """The neuron sets that can be explored unit by unit."""
        blocks = [block for section in self.sections for block in section.blocks]
        return [one for block in blocks if isinstance(block, Explorer) for one in block.sets]

    def _flat(self) -> Iterable[Picture | Table]:
        if self.answer is not None and self.answer.picture is not None:
            yield self.answer.picture
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Tabs):
                    for _, panel in block.panels:
                        yield from panel
                elif not isinstance(block, Explorer):
                    yield block


def panels(
    table: pd.DataFrame, stem: str, draw: Callable[[pd.DataFrame], Figure], caption: str
) -> list[tuple[str, list[Picture]]]:
    """A figure for each neuron set and language; ``{}`` in the caption names them."""
    made = []
    for (name, language), group in table.groupby(["neurons", "language"], sort=False):
        label = f"{name}, {language}"
        picture = Picture(
            f"{stem}_{slug(str(name))}_{slug(str(language))}",
            caption.format(f"the {name} neurons of {language}"),
            draw(group),
        )
        made.append((label, [picture]))
    return made
