"""Optional parts, and tables the report does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting.explorer.data import unit_sets
from langneurons.reporting.figures import parts as part_figures
from langneurons.reporting.inputs import COLUMNS, Run
from langneurons.reporting.sections.base import Block, Explorer, Picture, Section
from langneurons.reporting.tables.plain import plain
from langneurons.reporting.tables.scores import slug


def explorer(run: Run) -> Iterator[Section]:
    """Single units: distributions, passages, effects and neighbours."""
    sets = unit_sets(run)
    if sets:
        yield Section("explorer", "Neuron explorer", (), [Explorer(sets)])


_OPTIONAL = {
    "polysemanticity": (
        "Polysemanticity",
        "What the language-specific neurons carry besides their language.",
    ),
    "unit_effects": (
        "Effect of single units",
        "Perplexity ratio when a single unit is overwritten.",
    ),
    "forcing": (
        "Forcing the output language",
        "Language detected in the generated text with one language's neurons switched off and "
        "another's switched on: share of outputs, and their number.",
    ),
}
_DRAWN: Mapping[str, Callable[[pd.DataFrame], Figure]] = {
    "forcing": part_figures.forcing,
    "unit_effects": part_figures.unit_effects,
}
_SHOWN = {"neurons", "overlap", "perplexity", "scores", "rules", "finetuning", "adapters", "sweep"}


def others(run: Run) -> list[Section]:
    """Optional tables, and tables of parts the report does not know, as they are."""
    sections = []
    for name, table in run.tables.items():
        if name in _SHOWN:
            continue
        title, caption = _OPTIONAL.get(
            name, (name.replace("_", " ").capitalize(), f"Table {name} of the run.")
        )
        data = table.sort_values("ratio", ascending=False) if name == "unit_effects" else table
        file = name if name in COLUMNS or name in _OPTIONAL else f"other_{slug(name)}"
        blocks: list[Block] = []
        if name in _DRAWN:
            blocks.append(Picture(file, caption, _DRAWN[name](table)))
        sections.append(
            Section(f"part-{slug(name)}", title, (), [*blocks, plain(data, file, title, caption)])
        )
    return sections
