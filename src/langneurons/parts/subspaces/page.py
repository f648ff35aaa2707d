"""Linear subspaces: languages erased or moved."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.reporting.figures.dots import dots
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import listing, number, with_interval
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
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
            dots(
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
    yield Section("subspaces", "Linear subspaces", sentences(table, cost), blocks)


def sentences(table: pd.DataFrame, cost: pd.DataFrame | None) -> list[Sentence]:
    """What erasing leaves of the language, beside random subspaces and neurons.

    Args:
        table: The ``subspaces`` table.
        cost: The ``subspaces_cost`` table.
    """
    said = []
    for part, group in table.groupby("part", sort=False):
        one = group[~group["layer"].isin(["-", "all"])]
        before = group[group["kind"] == "none"].iloc[0]
        found = []
        for kind, rows in one.groupby("kind", sort=False):
            row = rows.loc[rows["here"].idxmin()]
            span = _percent(row)
            found.append(f"{kind} (rank {row['rank']}, layer {row['layer']}) {span}")
        said.append(
            Sentence(
                f"{part} ({before['site']}): a linear classifier tells the language of "
                f"{number(100 * before['here'], 0)} % of the tokens untouched; at best "
                f"erased: {listing(found)}; chance is {number(100 * before['chance'], 0)} %."
            )
        )
        if cost is None:
            continue
        rows = cost[(cost["part"] == part) & (cost["measure"] == "perplexity")]
        rows = rows[~rows["layer"].isin(["all"])]
        worst = rows.groupby("kind", sort=False)["value"].max()
        text = [f"{kind} ×{number(value, 2)}" for kind, value in worst.items()]
        said.append(
            Sentence(f"{part}: the largest perplexity ratio in one layer is {listing(text)}.")
        )
    return said


def _percent(row: pd.Series) -> str:
    ends = (100 * row["here_low"], 100 * row["here_high"])
    return with_interval(100 * row["here"], *ends, 0) + " %"
