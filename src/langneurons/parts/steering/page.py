"""What steers a language: the table, its figure, and no more than the controls carry."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.reporting.figures.dots import dots
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import number, with_interval
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence
from langneurons.reporting.tables.base import Column, Table
from langneurons.reporting.tables.plain import plain

CONTROLS = ("random", "matched")


def sections(run: Run) -> Iterator[Section]:
    """Every way of steering by one protocol."""
    table, choice = run.table("steering"), run.table("steering_choice")
    if table is None:
        return
    panels = [(str(lang), [_picture(group, str(lang))])
              for lang, group in table.groupby("language", sort=False)]  # fmt: skip
    blocks: list[Block] = [Tabs("steering", panels), shown(table)]
    if choice is not None:
        blocks.append(
            plain(
                choice,
                "steering_choice",
                "Settings tried",
                "On the questions kept for choosing; the first of the best was tested.",
            )
        )
    yield Section("steering", "What steers a language", list(sentences(table)), blocks)


def shown(table: pd.DataFrame) -> Table:
    """The table as it is read.

    Args:
        table: The ``steering`` table.
    """
    columns = [
        Column("way", "way"),
        Column("language", "target"),
        Column("kind", "kind"),
        Column("seed", "draw", "count"),
        Column("layer", "layer"),
        Column("strength", "strength"),
        Column("n", "n", "count"),
        Column("forcing", "forcing", "number", 2, ("forcing_low", "forcing_high")),
        Column("relevance", "relevance", "number", 3, ("relevance_low", "relevance_high")),
        Column("chance", "of another question", "number", 3),
        Column("score", "harmonic mean", "number", 3, ("score_low", "score_high")),
        Column("target_ratio", "target text, ×", "number", 2, ("target_low", "target_high")),
        Column("source_ratio", "prompts' language, ×", "number", 2, ("source_low", "source_high")),
        Column("answer_loss", "gold answer, nats", "number", 2,
               ("answer_loss_low", "answer_loss_high"), True),
    ]  # fmt: skip
    return Table(
        "steering",
        "What steers a language",
        "Forcing: share of answers in the target language (Wilson's interval). Relevance: chrF++ "
        "against the reference, and against that of another question; harmonic mean of forcing and "
        "relevance (bootstrap over questions). Perplexity of text under the same steering as a "
        "ratio to untouched; gold answer: change of its loss a token.",
        table,
        [column for column in columns if column.key in table],
    )


def _picture(table: pd.DataFrame, language: str) -> Picture:
    labels = {"none": "without steering", "own": "steered", "random": "random",
              "matched": "as active, or changing as much"}  # fmt: skip
    drawn = table[table["score"].notna()].assign(
        series=lambda rows: rows["kind"].map(labels), line=lambda rows: rows["way"]
    )
    figure = dots(
        drawn,
        "line",
        "series",
        ("score", "score_low", "score_high"),
        "harmonic mean of forcing and relevance",
    )
    return Picture(
        f"steering_{slug(language)}",
        f"Answers wanted in {language}: harmonic mean of forcing and relevance on the test "
        "questions, 95 % intervals over questions; a dot each draw of a control.",
        figure,
    )


def sentences(table: pd.DataFrame) -> Iterator[Sentence]:
    """For each target which ways do more than their controls, and than asking.

    Args:
        table: The ``steering`` table.
    """
    for language, group in table.groupby("language", sort=False):
        without = group[group["kind"] == "none"].set_index("way")
        own = group[group["kind"] == "own"].sort_values("score", ascending=False, kind="stable")
        floor = without["score"].get("untouched", float("nan"))
        beyond = []
        for row in own.to_dict("records"):
            beside = group[(group["way"] == row["way"]) & group["kind"].isin(CONTROLS)]["score"]
            if len(beside) and row["score_low"] > max(float(beside.max()), float(floor)):
                beyond.append(row)
        asked = without["score"].get("instruction", float("nan"))
        text = f"{language}: asked to answer in it, the model reaches {number(float(asked), 2)}"
        text += f", untouched {number(float(floor), 2)} (harmonic mean of forcing and relevance)"
        if own.empty:
            yield Sentence(f"{text}.", "none")
            continue
        first = own.iloc[0].to_dict()
        text += f"; of {len(own)} ways {first['way']} scores highest, {_score(first)}"
        if not beyond:
            yield Sentence(f"{text}, and none lies above all of its controls.", "none")
            continue
        names = ", ".join(f"{row['way']} ({_costs(row)})" for row in beyond)
        yield Sentence(f"{text}. Above all of their controls lie: {names}.", "finding")
    n = int(table["n"].min())
    yield Sentence(
        f"{n} questions a cell: the intervals are over questions of one draw, with one choice of "
        "strength; ways whose intervals overlap are not told apart.",
        "caution",
    )


def _score(row: dict[str, object]) -> str:
    score, low, high = (float(str(row[key])) for key in ("score", "score_low", "score_high"))
    return with_interval(score, low, high, 2)


def _costs(row: dict[str, object]) -> str:
    forcing = number(100 * float(str(row["forcing"])), 0)
    target, source = (number(float(str(row[f"{name}_ratio"])), 2) for name in ("target", "source"))
    near, other = (number(float(str(row[name])), 2) for name in ("relevance", "chance"))
    said = f"{forcing} % forced, relevance {near} and {other} by another question's reference"
    return f"{said}, perplexity ×{target} of target text and ×{source} of the prompts'"
