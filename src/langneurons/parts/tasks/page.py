"""Scores of tasks, untouched and under overwrites, beside guessing, rules and controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langneurons.parts.tasks import figures, sentences, shown
from langneurons.parts.tasks.comparisons import trained_on
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.tables import Table


def sections(run: Run) -> Iterator[Section]:
    """Scores without intervention and under overwrites, beside guessing, rules and controls."""
    table = run.table("scores")
    if table is None:
        return
    known = trained_on(run)
    rules = run.table("rules")
    said = sentences.overwriting(table, known)
    said += sentences.chance(table)
    if rules is not None:
        said += sentences.rules(table, rules)
    panels: list[tuple[str, Sequence[Picture | Table]]] = []
    for (task, adapter), group in table.groupby(["task", "adapter"], sort=False):
        if not (group["intervention"] != "none").any():
            continue
        drawn: list[Picture | Table] = []
        for metric, rows in group.groupby("metric", sort=False):
            stem = f"{slug(str(task))}_{slug(str(adapter))}_{slug(str(metric))}"
            caption = (
                f"{task} ({str(metric).replace('_', ' ')}), adapter {adapter}: change in points "
                "against no intervention when units are overwritten, with intervals, by language "
                "(n: examples). Grey band: changes smaller than the median minimum detectable "
                "effect."
            )
            picture = Picture(f"interventions_{stem}", caption, figures.differences(rows))
            wide = shown.by_language(table, str(task), str(adapter), str(metric))
            drawn += [picture, *([wide] if wide is not None else [])]
        panels.append((f"{task}, {adapter}", drawn))
    blocks: list[Block] = [shown.untouched(table, rules)]
    if panels:
        blocks.append(Tabs("tasks", panels))
    for task in dict.fromkeys(table["task"]):
        made = shown.overwritten(table, str(task), known)
        blocks += [made] if made is not None else []
    if rules is not None:
        blocks.append(shown.simple_rules(rules))
    odd = run.table("odd_rows")
    if odd is not None:
        blocks.append(shown.odd_rows(odd))
    yield Section("tasks", "Tasks: overwriting neurons at test time", said, blocks)
