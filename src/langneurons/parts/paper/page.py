"""The paper's own tables and figures from this run, and its findings beside this run's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from langneurons.parts.paper import compared, figures, findings, overlaps, published, shown
from langneurons.parts.tasks.comparisons import trained_on
from langneurons.reporting.about import model_name
from langneurons.reporting.inputs import Run
from langneurons.reporting.names import slug
from langneurons.reporting.numbers import count
from langneurons.reporting.sections import Block, Picture, Section, Tabs
from langneurons.reporting.sentences import Sentence, Tone
from langneurons.reporting.tables import Table

_TONES: Mapping[str, Tone] = {"reproduced": "finding", "not reproduced": "none"}


def sections(run: Run) -> Iterator[Section]:
    """The paper's findings and numbers beside this run's, then its tables and figures."""
    yield from against(run)
    yield from layout(run)
    yield from shared(run)


def against(run: Run) -> Iterator[Section]:
    """Published numbers beside this run's, and whether each finding is reproduced."""
    found = findings.findings(run)
    model = published.model_of(run)
    if not found:
        return
    blocks: list[Block] = [findings.table(found)]
    counted = Counter(finding.verdict for finding in found)
    tally = ", ".join(f"{many} {what}" for what, many in counted.items())
    sentences = [
        Sentence(f"{count(len(found), 'finding')} of the paper beside this run: {tally}.", "none"),
    ]
    sentences += [
        Sentence(
            f"{finding.claim} {finding.verdict.capitalize()}: {finding.here}.",
            _TONES.get(finding.verdict, "caution"),
        )
        for finding in found
    ]
    if model is None:
        sentences.append(
            Sentence(
                f"{model_name(run)} is none of the authors' models: findings can be compared, "
                "numbers cannot.",
                "caution",
            )
        )
    else:
        data = compared.compared(run, model)
        if len(data):
            sentences.append(_agreement(data, model))
            changes = data[data["value"] != "none"]
            for metric, rows in changes.groupby("metric", sort=False):
                blocks.append(
                    Picture(
                        f"paper_beside_{slug(str(metric))}",
                        f"Change of {str(metric).replace('_', ' ')} under overwrites of a "
                        f"language's own neurons: published for {model} (single runs) and in this "
                        "run with interval, a mark a cell (n: cells); on the line both are equal.",
                        figures.beside(rows),
                    )
                )
            blocks.append(compared.numbers(data, model))
    source = published.source()
    notes = [("source", f"{source['paper']}; {source['files']}.")]
    if model is not None:
        notes.append(
            (
                "F1",
                "The authors' F1 and exact match compare token ids with the first answer; here "
                "they are the official ones, over normalised text and all answers.",
            )
        )
    yield Section("paper", "Against the paper", sentences, blocks, notes)


def _agreement(data: pd.DataFrame, model: str) -> Sentence:

    within = int(data["within"].sum())
    return Sentence(
        f"Of {count(len(data), 'published number')} of {model} that this run measured too, "
        f"{within} agree with it within the interval of the difference.",
        "finding" if within * 2 > len(data) else "none",
    )


def layout(run: Run) -> Iterator[Section]:
    """The paper's tables and figures, in its layout, from this run."""
    known = trained_on(run)
    panels: list[tuple[str, Sequence[Picture | Table]]] = []
    perplexity, scores = run.table("perplexity"), run.table("scores")
    if perplexity is not None:
        for (name, value), group in perplexity.groupby(["neurons", "value"], sort=False):
            if not (group["kind"] == "own").any():
                continue
            picture = Picture(
                f"paper_ppxc_{slug(str(name))}_{slug(str(value))}",
                f"PPXC of {model_name(run)}: perplexity on text of each language (columns) with "
                f"the {name} neurons of each language (rows; n: units) set to {value}, minus the "
                "untouched perplexity.",
                figures.ppxc(group),
            )
            table = shown.ppxc(group, str(name), str(value))
            panels.append((f"PPXC, {name}, {value}", [picture, table]))
    if scores is not None:
        for (task, metric), _ in scores.groupby(["task", "metric"], sort=False):
            made = [
                shown.interventions(scores, str(task), str(metric), known),
                shown.lora(scores, str(task), str(metric), known),
            ]
            drawn = [table for table in made if table is not None]
            if drawn:
                panels.append((f"{task}, {str(metric).replace('_', ' ')}", drawn))
    if not panels:
        return
    links = [
        (f"{what}, {name}", f"fig-{stem}_{slug(name)}")
        for name in _sets(run)
        for what, stem in (
            ("layer heat map", "neurons"),
            ("language overlap", "overlap"),
            ("Venn diagram of three languages", "venn"),
        )
    ]
    yield Section(
        "layout",
        "The paper's tables and figures",
        (),
        [Tabs("layout", panels)],
        links=links,
    )


def shared(run: Run) -> Iterator[Section]:
    """What overwrites cost beside the overlap with the training language's neurons."""
    data = overlaps.cells(run)
    found = overlaps.correlations(data)
    if not len(found):
        return
    panels = []
    for (task, metric), rows in data.groupby(["task", "metric"], sort=False):
        words = f"{task}, {str(metric).replace('_', ' ')}"
        picture = Picture(
            f"paper_overlaps_{slug(str(task))}_{slug(str(metric))}",
            f"{words}: overlap of a language's neurons with the training language's and the change "
            "of score when they are overwritten, with intervals; a mark a language and value.",
            overlaps.figure(rows),
        )
        panels.append((words, [picture]))
    yield Section(
        "overlaps",
        "Overlap and what overwrites cost",
        [Sentence(overlaps.sentence_of(found), "none")],
        [Tabs("overlaps", panels), overlaps.table(found)],
    )


def _sets(run: Run) -> list[str]:
    table = run.table("neurons")
    return [] if table is None else [str(name) for name in table["neurons"].unique()]
