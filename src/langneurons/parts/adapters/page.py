"""Masked LoRA: adapters that train some units only, against none and random ones."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from langneurons.parts.adapters import figures, sentences, shown
from langneurons.parts.adapters.comparisons import compared_with
from langneurons.parts.tasks.comparisons import trained_on
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import listing
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence


def sections(run: Run) -> Iterator[Section]:
    """Adapters that train some units only, against none and random ones."""
    table, trained = run.table("scores"), run.table("finetuning")
    if trained is None:
        return
    known = trained_on(run)
    said: list[Sentence] = []
    blocks: list[Block] = []
    if table is not None:
        said = sentences.finetuned(table, run.table("adapters"), known, compared_with(run))
        plain_rows = table[table["intervention"] == "none"]
        panels = []
        for (task, metric), group in plain_rows.groupby(["task", "metric"], sort=False):
            if group["adapter"].nunique() < 2:
                continue
            caption = (
                f"{task} ({str(metric).replace('_', ' ')}) after fine-tuning on "
                f"{listing(list(known))} with LoRA on the rows of the chosen units only, "
                "without intervention, with intervals (over seeds: mean and envelope; n: "
                "examples)."
            )
            picture = Picture(
                f"finetuning_{slug(str(task))}_{slug(str(metric))}",
                caption,
                figures.adapters(group),
            )
            panels.append((f"{task}, {str(metric).replace('_', ' ')}", [picture]))
        blocks += [Tabs("finetuning", panels)] if panels else []
        compared = shown.compared(table, run.table("adapters"), known, compared_with(run))
        blocks += [compared] if compared is not None else []
    seeds = run.table("adapter_seeds")
    if seeds is not None:
        said = [*said, *sentences.over_seeds(seeds, known)]
        repeated = shown.over_seeds(seeds, known)
        blocks += [repeated] if repeated is not None else []
    sets = run.table("adapter_sets")
    if sets is not None:
        said = [*said, *sentences.among_sets(sets, known)]
    curves = run.table("supervision")
    if curves is not None and len(curves):
        blocks += _supervised(curves)
    yield Section(
        "finetuning",
        "Masked LoRA: fine-tuning only some units",
        said,
        [*blocks, shown.trained(trained)],
    )


def _supervised(curves: pd.DataFrame) -> list[Block]:
    """What examples of the target language give, by the units that learn."""
    panels = []
    for (task, metric, language), rows in curves.groupby(
        ["task", "metric", "language"], sort=False
    ):
        words = f"{task}, {str(metric).replace('_', ' ')}, {language}"
        picture = Picture(
            f"supervision_{slug(str(task))}_{slug(str(metric))}_{slug(str(language))}",
            f"{words}: score after training with so many examples of the language itself, a line "
            "a choice of units that learn, with intervals (over seeds: mean and envelope; n: "
            "examples tested).",
            figures.supervision(rows),
        )
        panels.append((words, [picture]))
    return [Tabs("supervision", panels), shown.supervised(curves)]
