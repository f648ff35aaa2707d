"""Tasks under overwriting, and masked LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langneurons.reporting import answer
from langneurons.reporting.about import compared_with, trained_on
from langneurons.reporting.answer import Sentence
from langneurons.reporting.figures import finetuning as finetuning_figures
from langneurons.reporting.figures import scores as score_figures
from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import listing
from langneurons.reporting.sections.base import Block, Picture, Section, Tabs
from langneurons.reporting.tables import Table, finetuning, scores
from langneurons.reporting.tables.scores import slug


def overwritten(run: Run) -> Iterator[Section]:
    """Scores without intervention and under overwrites, beside guessing, rules and controls."""
    table = run.table("scores")
    if table is None:
        return
    known = trained_on(run)
    rules = run.table("rules")
    sentences = answer.chance(table)
    if rules is not None:
        sentences += answer.rules(table, rules)
    sentences += answer.overwriting(table, known)
    panels: list[tuple[str, Sequence[Picture | Table]]] = []
    for (task, adapter), group in table.groupby(["task", "adapter"], sort=False):
        if not (group["intervention"] != "none").any():
            continue
        shown: list[Picture | Table] = []
        for metric, rows in group.groupby("metric", sort=False):
            stem = f"{slug(str(task))}_{slug(str(adapter))}_{slug(str(metric))}"
            caption = (
                f"{task} ({str(metric).replace('_', ' ')}), adapter {adapter}: change in points "
                "against no intervention when units are overwritten, with intervals, by language "
                "(n: examples). Grey band: changes smaller than the median minimum detectable "
                "effect."
            )
            picture = Picture(f"interventions_{stem}", caption, score_figures.differences(rows))
            wide = scores.by_language(table, str(task), str(adapter), str(metric))
            shown += [picture, *([wide] if wide is not None else [])]
        panels.append((f"{task}, {adapter}", shown))
    blocks: list[Block] = [scores.untouched(table, rules)]
    if panels:
        blocks.append(Tabs("tasks", panels))
    for task in dict.fromkeys(table["task"]):
        made = scores.overwritten(table, str(task), known)
        blocks += [made] if made is not None else []
    if rules is not None:
        blocks.append(scores.simple_rules(rules))
    odd = run.table("odd_rows")
    if odd is not None:
        blocks.append(scores.odd_rows(odd))
    yield Section("tasks", "Tasks: overwriting neurons at test time", sentences, blocks)


def finetuned(run: Run) -> Iterator[Section]:
    """Adapters that train some units only, against none and random ones."""
    table, trained = run.table("scores"), run.table("finetuning")
    if trained is None:
        return
    known = trained_on(run)
    sentences: list[Sentence] = []
    blocks: list[Block] = []
    if table is not None:
        sentences = answer.finetuned(table, run.table("adapters"), known, compared_with(run))
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
                finetuning_figures.adapters(group),
            )
            panels.append((f"{task}, {str(metric).replace('_', ' ')}", [picture]))
        blocks += [Tabs("finetuning", panels)] if panels else []
        compared = finetuning.compared(table, run.table("adapters"), known, compared_with(run))
        blocks += [compared] if compared is not None else []
    seeds = run.table("adapter_seeds")
    if seeds is not None:
        sentences = [*sentences, *answer.over_seeds(seeds, known)]
        repeated = finetuning.over_seeds(seeds, known)
        blocks += [repeated] if repeated is not None else []
    sets = run.table("adapter_sets")
    if sets is not None:
        sentences = [*sentences, *answer.among_sets(sets, known)]
    yield Section(
        "finetuning",
        "Masked LoRA: fine-tuning only some units",
        sentences,
        [*blocks, finetuning.trained(trained)],
    )
