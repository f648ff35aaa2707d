"""True deactivation: values beside the units' own range, and the next layers' view."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.parts.deactivation import figures
from langneurons.reporting.aggregate import extreme
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import count, number
from langneurons.reporting.sections import Block, Section, Tabs, panels
from langneurons.reporting.sentences import Sentence, ratio, tone
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """Values written beside the units' own range and the next layer's view."""
    table, stream = run.table("deactivation"), run.table("residual")
    if table is None:
        return
    shown = panels(
        table,
        "deactivation",
        figures.deactivation,
        "Perplexity ratio when {} are overwritten with each value (dot with interval; marks: draws "
        "of random and of equally active units), and the share of units for which the value is "
        "unusual or impossible.",
    )
    blocks: list[Block] = [Tabs("deactivation", shown)]
    blocks.append(
        plain(
            table,
            "deactivation",
            "Every value",
            "Perplexity ratio for every value, kind of units and draw, with the shares of units "
            "written below or above all they show, outside their own P1 to P99, and outside what "
            "the activation function gives; distance: in own standard deviations.",
        )
    )
    if stream is not None:
        caption = (
            "Mean displacement |s - r| / |r| of the residual stream behind every layer, untouched "
            "(r) against overwritten (s), when {} are overwritten."
        )
        blocks.append(Tabs("residual", panels(stream, "residual", figures.residual, caption)))
        blocks.append(
            plain(
                stream,
                "residual",
                "The residual stream, every layer",
                "Change of the residual stream behind every layer: norm ratio |s| / |r|, cosine, "
                "displacement |s - r| / |r|; means over tokens, intervals over documents.",
            )
        )
    yield Section("deactivation", "True deactivation", list(sentences(table)), blocks)


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """Whether zero is the mildest value, and whether it is one the units ever have.

    Args:
        table: The ``deactivation`` table.
    """
    for (name, language), group in table.groupby(["neurons", "language"], sort=False):
        own = group[group["kind"] == "own"]
        if own.empty:
            continue
        best, worst = (extreme(own, "ratio", largest=flag) for flag in (False, True))
        text = (
            f"Of {count(len(own), 'value')} written over the {name} neurons of {language}, "
            f"{best['value']} is the mildest (perplexity {ratio(best)}) and {worst['value']} the "
            f"harshest ({ratio(worst)})"
        )
        zero = own[own["value"] == "zero"]
        if len(zero):
            row = zero.iloc[0]
            text += (
                f"; zero gives {ratio(row)} and lies outside the usual range (P1 to P99) of "
                f"{number(100 * row['unusual'], 0)} % of the units"
            )
        yield Sentence(text + ".", tone(worst["low"], worst["high"], 1))
