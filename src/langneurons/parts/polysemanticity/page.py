"""Language and task information of units, beside units of the same activity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from langneurons.parts.polysemanticity import figures
from langneurons.reporting.aggregate import records
from langneurons.reporting.columns import UnitFact
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import number, with_interval
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence, tone
from langneurons.reporting.tables.plain import plain


def sections(run: Run) -> Iterator[Section]:
    """Language and task information of units, beside units of the same activity."""
    table, harm = run.table("polysemanticity"), run.table("polysemanticity_harm")
    if table is None or not {"carries", "own", "matched"} <= set(table.columns):
        return
    panels = [
        (
            str(name),
            [
                Picture(
                    f"polysemanticity_{slug(str(name))}",
                    f"Share of the {name} neurons of each language that carry information on the "
                    "language, on the task's labels within it, and on both, beside units of the "
                    "same layers and activity (n: neurons). By chance 5 % carry task information.",
                    figures.information(group),
                )
            ],
        )
        for name, group in table.groupby("neurons", sort=False)
    ]
    blocks: list[Block] = [Tabs("polysemanticity", panels)]
    for name, title, caption in (
        ("polysemanticity", "Shares", "Share of units that carry each kind of information."),
        (
            "polysemanticity_harm",
            "Harm and information",
            "Rank correlation of the harm of overwriting a unit (rise of the answer's loss) with "
            "what it carries; given: what is held constant.",
        ),
        (
            "polysemanticity_units",
            "Every unit",
            "Activity, language and task information of every unit, own and equally active; harm "
            "where it was measured.",
        ),
    ):
        found = run.table(name)
        if found is not None:
            blocks.append(plain(found, name, title, caption))
    yield Section("polysemanticity", "Polysemanticity", list(sentences(table, harm)), blocks)


def sentences(table: pd.DataFrame, harm: pd.DataFrame | None) -> Iterator[Sentence]:
    """Whether language neurons carry task information, and whether that costs anything.

    Args:
        table: The ``polysemanticity`` table.
        harm: The ``polysemanticity_harm`` table, where there is one.
    """
    for row in records(table[table["carries"] == "task"]):
        difference = with_interval(
            100 * row["difference"], 100 * row["low"], 100 * row["high"], 0, signed=True
        )
        yield Sentence(
            f"{number(100 * row['own'], 0)} % of the {row['neurons']} neurons of "
            f"{row['language']} carry information on the labels of {row['task']} (by chance 5 %), "
            f"{number(100 * row['matched'], 0)} % of equally active ones: {difference} points.",
            tone(row["low"], row["high"], 0),
        )
    if harm is None:
        return
    chosen = harm[(harm["harm_with"] == "task_separation") & (harm["kind"] == "own")]
    for row in records(chosen[chosen["given"] != ""]):
        if pd.isna(row["rho"]):
            continue
        rho = with_interval(row["rho"], row["low"], row["high"], 2, signed=True)
        yield Sentence(
            f"{row['language']}: the harm of overwriting a unit goes with its task information at "
            f"a rank correlation of {rho}, its spread held constant ({row['units']} units).",
            tone(row["low"], row["high"], 0),
        )


def unit(row: Mapping[str, Any]) -> UnitFact | None:
    """What the explorer says of a unit; nothing where it is a control.

    Args:
        row: A row of the ``polysemanticity_units`` table.
    """
    if row["kind"] != "own":
        return None
    language = f", {row['language']}" if isinstance(row.get("language"), str) else ""
    harm = row.get("harm")
    parts = [
        f"separation of the labels {number(row['task_separation'], 2)} "
        f"(95 % of chance: {number(row['task_null'], 2)})",
        f"{number(row['task_bits'], 3)} bits",
        f"of the language {number(row['language_separation'], 2)}, "
        f"{number(row['language_bits'], 3)} bits",
    ]
    if harm is not None and not pd.isna(harm):
        parts.append(f"harm when overwritten {number(harm, 4, signed=True)} nats")
    carries = "shown" if row["carries_task"] else "not shown"
    what = f"task information, {row['task']}{language}"
    return UnitFact(what, f"{carries}: {'; '.join(parts)}")
