"""The effect of single units, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from langneurons.parts.effects import figures
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.columns import UnitFact
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import with_interval
from langneurons.reporting.sections import Picture, Section
from langneurons.reporting.sentences import Sentence, ratio, tone
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """The units that matter most, one at a time."""
    table = run.table("unit_effects")
    if table is None:
        return
    caption = "Perplexity ratio when a single unit is overwritten, largest first, by language."
    ranked = table.sort_values("ratio", ascending=False)
    yield Section(
        "part-unit_effects",
        "Effect of single units",
        list(sentences(table)),
        [
            Picture("unit_effects", caption, figures.unit_effects(table)),
            plain(ranked, "unit_effects", "Effect of single units", caption),
        ],
    )


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """The unit that matters most in each language.

    Args:
        table: The ``unit_effects`` table.
    """
    if not {"low", "high"} <= set(table.columns):
        return
    for language, group in table.groupby("language", sort=False):
        top = extreme(group, "ratio", largest=True)
        yield Sentence(
            f"The single unit that matters most to {language} is {top['index']} in layer "
            f"{top['layer']}: perplexity {ratio(top)} (chosen for being the largest, so rather an "
            "overestimate).",
            tone(top["low"], top["high"], 1),
        )


def unit(row: Mapping[str, Any]) -> UnitFact:
    """What the explorer says of a unit.

    Args:
        row: A row of the ``unit_effects`` table.
    """
    language = f", {row['language']}" if isinstance(row.get("language"), str) else ""
    value = f" when set to {row['value']}" if isinstance(row.get("value"), str) else ""
    shown = with_interval(row["ratio"], row.get("low"), row.get("high"), 3)
    size = abs(math.log(row["ratio"])) if row["ratio"] > 0 else None
    return UnitFact(f"perplexity{language}{value}", f"×{shown}", size)
