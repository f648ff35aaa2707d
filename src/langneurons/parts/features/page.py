"""Sparse features: quality, languages, and what changing them does."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.reporting.figures.dots import dots
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import number, with_interval
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """Sparse features: quality, languages, and what changing them does."""
    table = run.table("features")
    if table is None:
        return
    found, cells = run.table("feature_languages"), run.table("feature_perplexity")
    blocks: list[Block] = []
    if cells is not None:
        own = cells[cells["row"] == cells["column"]]
        panels = []
        for name, group in own.groupby("features", sort=False):
            picture = Picture(
                f"features_{slug(str(name))}",
                f"{name}: perplexity ratio on a language's text with its own features changed, "
                "and random and equally active ones.",
                dots(
                    group, "row", "kind", ("ratio", "low", "high"), "perplexity ratio", reference=1
                ),
            )
            panels.append((str(name), [picture]))
        blocks.append(Tabs("features", panels))
    blocks.append(
        plain(
            table,
            "features",
            "Quality of the features",
            "explained: share of the variance; l0: features on at a token; dead: on at none; "
            "recovered: share of the loss recovered on reconstructions, with its interval.",
        )
    )
    if cells is not None:
        blocks.append(
            plain(cells, "feature_perplexity", "Features changed", "Every row and column.")
        )
    if found is not None:
        blocks.append(
            plain(found, "feature_languages", "Language features", "Features by language.")
        )
    yield Section("features", "Sparse features", sentences(table, cells), blocks)


def sentences(quality: pd.DataFrame, cells: pd.DataFrame | None) -> list[Sentence]:
    """How good the features are, and whether a language's own ones matter to it.

    Args:
        quality: The ``features`` table.
        cells: The ``feature_perplexity`` table.
    """
    said = []
    for name, group in quality.groupby("features", sort=False):
        every = group[group["language"] == "all"]
        rest = group[group["language"] != "all"]
        worst = rest.loc[rest["recovered"].idxmin()]
        said.append(
            Sentence(
                f"{name}: {_span(100 * every['explained'], 0)} % of the variance explained with "
                f"{_span(every['l0'], 1)} features a token, "
                f"{_span(100 * every['dead'], 0)} % dead; "
                f"at least {_percent(worst)} of the loss recovered "
                f"({worst['language']}, layer {worst['layer']})."
            )
        )
    if cells is None:
        return said
    for name, group in cells.groupby("features", sort=False):
        own = group[(group["kind"] == "own") & (group["row"] == group["column"])]
        beyond = 0
        for row in own.itertuples():
            draws = group[(group["row"] == row.row) & (group["kind"] != "own")]["ratio"]
            beyond += bool(row.low > 1 and (draws.empty or row.ratio > draws.max()))
        said.append(
            Sentence(
                f"{name}: changing a language's own features raises its perplexity, beyond every "
                f"random and equally active draw, in {beyond} of {len(own)} languages.",
                "finding" if beyond else "none",
            )
        )
    return said


def _percent(row: pd.Series) -> str:
    ends = (100 * row["low"], 100 * row["high"])
    return with_interval(100 * row["recovered"], *ends, 0) + " %"


def _span(values: pd.Series, digits: int) -> str:
    low, high = number(float(values.min()), digits), number(float(values.max()), digits)
    return low if low == high else f"{low} to {high}"
