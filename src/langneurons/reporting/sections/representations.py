"""Sections on linear subspaces and sparse features, each where the run has it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.reporting.answer import representations as answer
from langneurons.reporting.figures import representations as figures
from langneurons.reporting.inputs import Run
from langneurons.reporting.sections.base import Block, Picture, Section, Tabs
from langneurons.reporting.tables.plain import plain
from langneurons.reporting.tables.scores import slug


def subspaces(run: Run) -> Iterator[Section]:
    """Languages erased or moved linearly."""
    table = run.table("subspaces")
    if table is None:
        return
    cost, moves = run.table("subspaces_cost"), run.table("subspaces_moves")
    panels = []
    for part, group in table.groupby("part", sort=False):
        lines = group.assign(
            line=group["kind"] + " " + group["seed"].astype(str) + ", layer " + group["layer"]
        )
        long = pd.concat(
            [
                lines.assign(
                    place=place,
                    value=lines[key],
                    low=lines[f"{key}_low"],
                    high=lines[f"{key}_high"],
                )
                for key, place in (("here", "where erased"), ("behind", "behind the last layer"))
            ]
        )
        picture = Picture(
            f"subspaces_{slug(str(part))}",
            f"{part}: share of tokens whose language a linear classifier finds after erasing "
            "(line: chance), on documents it has not seen.",
            figures.dots(
                long[long["value"].notna()],
                "line",
                "place",
                ("value", "low", "high"),
                "share of tokens",
                reference=float(group["chance"].iloc[0]),
            ),
        )
        panels.append((str(part), [picture]))
    blocks: list[Block] = [
        Tabs("subspaces", panels),
        plain(table, "subspaces", "Language left", "Linear classification of the language."),
    ]
    if cost is not None:
        blocks.append(
            plain(
                cost,
                "subspaces_cost",
                "What it costs",
                "Perplexity as a ratio to untouched; task: rise of the answer's loss in nats.",
            )
        )
    if moves is not None:
        blocks.append(
            plain(
                moves,
                "subspaces_moves",
                "Moving a language",
                "Share of the source's tokens taken for the target's, and the perplexity ratio.",
            )
        )
    yield Section("subspaces", "Linear subspaces", answer.subspaces(table, cost), blocks)


def features(run: Run) -> Iterator[Section]:
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
                figures.dots(
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
    yield Section("features", "Sparse features", answer.features(table, cells), blocks)
