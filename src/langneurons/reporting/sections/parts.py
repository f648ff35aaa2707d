"""The neuron explorer, and tables the report does not know."""

from __future__ import annotations

from collections.abc import Iterator

from langneurons.reporting.explorer.data import unit_sets
from langneurons.reporting.inputs import COLUMNS, Run
from langneurons.reporting.sections.base import Explorer, Section
from langneurons.reporting.tables.plain import plain
from langneurons.reporting.tables.scores import slug


def explorer(run: Run) -> Iterator[Section]:
    """Single units: distributions, passages, effects and neighbours."""
    sets = unit_sets(run)
    if sets:
        yield Section("explorer", "Neuron explorer", (), [Explorer(sets)])


_SHOWN = {
    *("neurons", "overlap", "perplexity", "scores", "rules", "finetuning", "adapters", "sweep"),
    *("adapter_seeds", "adapter_sets"),
    *(
        "specificity",
        "odd_rows",
        "planning",
        "unit_effects",
        "forcing",
        "fallback",
        "deactivation",
        "residual",
    ),
    "crossing",
    *("polysemanticity", "polysemanticity_harm", "polysemanticity_units"),
    *("subspaces", "subspaces_cost", "subspaces_moves"),
    *("features", "feature_languages", "feature_perplexity"),
}
_CAPTIONS = {
    "two_holders": "Scores without intervention on items in whose text two people or more have "
    "what is asked: there the person decides.",
}


def others(run: Run) -> Iterator[Section]:
    """Tables no other part shows, as they are."""
    for name, table in run.tables.items():
        if name in _SHOWN:
            continue
        title = name.replace("_", " ").capitalize()
        caption = _CAPTIONS.get(name, f"Table {name} of the run.")
        file = name if name in COLUMNS or name in _CAPTIONS else f"other_{slug(name)}"
        yield Section(f"part-{slug(name)}", title, (), [plain(table, file, title, caption)])
