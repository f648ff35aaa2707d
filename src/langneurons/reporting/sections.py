"""What stands in the report, in order: sections of sentences, figures and tables.

A section whose tables the run does not have is left out; nothing is shown in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from langneurons.reporting import answer, style
from langneurons.reporting.aggregate import References, references
from langneurons.reporting.answer import Sentence
from langneurons.reporting.figures import finetuning as finetuning_figures
from langneurons.reporting.figures import layers as layer_figures
from langneurons.reporting.figures import overlap as overlap_figures
from langneurons.reporting.figures import parts as part_figures
from langneurons.reporting.figures import perplexity as perplexity_figures
from langneurons.reporting.figures import scores as score_figures
from langneurons.reporting.figures import sets as set_figures
from langneurons.reporting.figures import sweep as sweep_figures
from langneurons.reporting.inputs import COLUMNS, Run
from langneurons.reporting.numbers import listing, number
from langneurons.reporting.tables import Table, finetuning, neurons, overlap, perplexity, scores
from langneurons.reporting.tables.plain import plain, stages
from langneurons.reporting.tables.scores import slug


@dataclass(frozen=True)
class Picture:
    """A figure with its file name and its caption for a paper."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Tabs:
    """Alternatives of which one is seen at a time (all of them in print)."""

    name: str
    panels: Sequence[tuple[str, Sequence[Picture | Table]]]


Block = Picture | Table | Tabs


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Attributes:
        name: Its anchor.
        title: Its heading.
        sentences: What its tables say.
        blocks: Figures, tables and tabs.
        notes: Definitions, as (term, text).
        code: A command to be copied.
    """

    name: str
    title: str
    sentences: Sequence[Sentence] = ()
    blocks: Sequence[Block] = ()
    notes: Sequence[tuple[str, str]] = ()
    code: str | None = None


@dataclass(frozen=True)
class Report:
    """Everything the page shows.

    Attributes:
        title: The run's name.
        facts: Short facts under the title, as (term, text).
        question: The question asked.
        verdict: The answer in one sentence.
        findings: The sentences of all sections, for the summary on top.
        sections: The sections in order.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    question: str
    verdict: Sentence
    findings: Sequence[tuple[str, Sequence[Sentence]]]
    sections: Sequence[Section] = field(default_factory=list)

    def pictures(self) -> list[Picture]:
        """All figures, also those in tabs."""
        return [block for block in self._flat() if isinstance(block, Picture)]

    def tables(self) -> list[Table]:
        """All tables, also those in tabs."""
        return [block for block in self._flat() if isinstance(block, Table)]

    def _flat(self) -> Iterable[Picture | Table]:
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Tabs):
                    for _, panel in block.panels:
                        yield from panel
                else:
                    yield block


def compose(run: Run) -> Report:
    """The report of a run.

    Args:
        run: What :func:`langneurons.reporting.read_run` returns.
    """
    trained_on = _trained_on(run)
    with style.figure_style():
        made = [
            _neurons(run),
            _overlap(run),
            _perplexity(run),
            _tasks(run, trained_on),
            _finetuning(run, trained_on),
            _sweep(run),
            *_others(run),
        ]
        sections = [section for section in made if section is not None]
    findings = [(s.title, s.sentences) for s in sections if s.sentences]
    sections += [_methods(run), _reproduce(run)]
    return Report(
        title=str(run.info.get("name", run.folder.name)),
        facts=_facts(run),
        question=answer.QUESTION,
        verdict=answer.verdict(
            run.table("scores"), run.table("adapters"), trained_on, _compared_with(run)
        ),
        findings=findings,
        sections=sections,
    )


def _trained_on(run: Run) -> list[str]:
    table = run.table("finetuning")
    found = set() if table is None else {str(lang) for lang in table["train_language"].dropna()}
    named = run.info.get("train_language")
    return sorted(found | ({str(named)} if named and run.table("scores") is not None else set()))


def _compared_with(run: Run) -> References:
    table = run.table("finetuning")
    return References() if table is None else references(table)


def _model_name(run: Run) -> str:
    model = run.info.get("model", {})
    name = str(model.get("name", "")) if isinstance(model, Mapping) else str(model)
    return Path(name).name if Path(name).is_absolute() else name  # a folder's place says nothing


def _facts(run: Run) -> list[tuple[str, str]]:
    info = run.info
    model = info.get("model", {})
    facts = [("model", _model_name(run))]
    if isinstance(model, Mapping) and model.get("layers") and model.get("units"):
        shape = f"{number(model['layers'], 0)} layers × {number(model['units'], 0)} units"
        facts.append(("size", shape))
    facts.append(("languages", ", ".join(map(str, info.get("languages", [])))))
    seconds = info.get("seconds")
    facts += [
        ("protocol", str(info.get("protocol", ""))),
        ("budget", str(info.get("budget", ""))),
        ("finished", str(info.get("finished", ""))),
        ("time", f"{number(float(seconds) / 60, 1)} min" if seconds is not None else ""),
        ("langneurons", str(info.get("version", ""))),
    ]
    return [(term, text) for term, text in facts if text]


def _neurons(run: Run) -> Section | None:
    table = run.table("neurons")
    if table is None:
        return None
    panels = []
    for name, group in table.groupby("neurons", sort=False):
        caption = (
            f"Neurons found by {name} in {_model_name(run)}: share of each layer's units, by "
            "language (n: neurons of the language in all layers)."
        )
        picture = Picture(f"neurons_{slug(str(name))}", caption, layer_figures.layers(group))
        panels.append((str(name), [picture, *_members(run, str(name))]))
    return Section(
        "neurons",
        "Neurons by language and layer",
        answer.neurons(table),
        [Tabs("neurons", panels), neurons.neurons(table), neurons.layers(table)],
    )


def _members(run: Run, name: str) -> list[Picture]:
    """Which languages share units, where the members of the set are known."""
    if run.units is None:
        return []
    units = run.units[run.units["neurons"] == name]
    languages = units["language"].nunique()
    shown = []
    if languages >= 2:
        caption = (
            f"Units of {name} by the exact combination of languages they belong to (largest "
            "combinations first; left: units of each language)."
        )
        shown.append(Picture(f"upset_{slug(name)}", caption, set_figures.upset(units)))
    if languages >= 3:
        three = set_figures.closest(units)
        caption = (
            f"Units of {name} shared by {listing(list(three))}, the three languages that share "
            "most. Areas are not to scale."
        )
        shown.append(Picture(f"venn_{slug(name)}", caption, set_figures.venn(units, three)))
    return shown


def _overlap(run: Run) -> Section | None:
    table = run.table("overlap")
    if table is None:
        return None
    panels: list[tuple[str, Sequence[Picture | Table]]] = []
    pairs = sorted(table.groupby(["a", "b"], sort=False), key=lambda pair: pair[0][0] == pair[0][1])
    for (a, b), group in pairs:  # different sets first: that is the question
        stem = slug(str(a)) if a == b else f"{slug(str(a))}_{slug(str(b))}"
        shown = []
        if a != b and (group["language_a"] == group["language_b"]).any():
            caption = (
                f"Units shared by {a} and {b} for the same language (Jaccard index), beside the "
                "level expected by chance for sets of these sizes."
            )
            shown.append(Picture(f"overlap_chance_{stem}", caption, overlap_figures.chance(group)))
        if (group["language_a"] != group["language_b"]).any():
            what = f"within {a}" if a == b else f"between {a} and {b}"
            caption = f"Jaccard index of the neurons of every pair of languages {what}."
            shown.append(Picture(f"overlap_{stem}", caption, overlap_figures.languages(group)))
        if shown:
            panels.append((str(a) if a == b else f"{a} | {b}", shown))
    between = overlap.between_sets(table)
    blocks: list[Block] = [Tabs("overlap", panels)] if panels else []
    blocks += [between] if between is not None else []
    return Section(
        "overlap",
        "Overlap",
        answer.overlaps(table),
        [*blocks, overlap.all_pairs(table)],
    )


def _perplexity(run: Run) -> Section | None:
    table = run.table("perplexity")
    if table is None:
        return None
    panels: list[tuple[str, Sequence[Picture | Table]]] = []
    for (name, value), group in table.groupby(["neurons", "value"], sort=False):
        stem = f"{slug(str(name))}_{slug(str(value))}"
        matrix = Picture(
            f"perplexity_matrix_{stem}",
            f"Perplexity of {_model_name(run)} on text of each language (columns) with the "
            f"{name} neurons of each language (rows; n: units) set to {value}, as a ratio to the "
            "untouched perplexity.",
            perplexity_figures.matrix(group),
        )
        controls = Picture(
            f"perplexity_controls_{stem}",
            f"Perplexity ratio on a language's own text with its {name} neurons set to {value} "
            "(dot with interval), beside draws of as many random and of equally active random "
            "units (one mark a draw).",
            perplexity_figures.controls(group),
        )
        panels.append((f"{name}, {value}", [matrix, controls]))
    return Section(
        "perplexity",
        "Change of perplexity",
        answer.perplexity(table),
        [Tabs("perplexity", panels), perplexity.own_language(table), perplexity.cells(table)],
    )


def _tasks(run: Run, trained_on: Sequence[str]) -> Section | None:
    table = run.table("scores")
    if table is None:
        return None
    rules = run.table("rules")
    sentences = answer.chance(table)
    if rules is not None:
        sentences += answer.rules(table, rules)
    sentences += answer.overwriting(table, trained_on)
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
        made = scores.overwritten(table, str(task), trained_on)
        blocks += [made] if made is not None else []
    if rules is not None:
        blocks.append(scores.simple_rules(rules))
    return Section("tasks", "Tasks: overwriting neurons at test time", sentences, blocks)


def _finetuning(run: Run, trained_on: Sequence[str]) -> Section | None:
    table, trained = run.table("scores"), run.table("finetuning")
    if trained is None:
        return None
    sentences: list[Sentence] = []
    blocks: list[Block] = []
    if table is not None:
        sentences = answer.finetuned(table, run.table("adapters"), trained_on, _compared_with(run))
        plain_rows = table[table["intervention"] == "none"]
        panels = []
        for (task, metric), group in plain_rows.groupby(["task", "metric"], sort=False):
            if group["adapter"].nunique() < 2:
                continue
            caption = (
                f"{task} ({str(metric).replace('_', ' ')}) after fine-tuning on "
                f"{listing(list(trained_on))} with LoRA on the rows of the chosen units only, "
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
        compared = finetuning.compared(
            table, run.table("adapters"), trained_on, _compared_with(run)
        )
        blocks += [compared] if compared is not None else []
    return Section(
        "finetuning",
        "Masked LoRA: fine-tuning only some units",
        sentences,
        [*blocks, finetuning.trained(trained)],
    )


def _sweep(run: Run) -> Section | None:
    table = run.table("sweep")
    if table is None:
        return None
    panels = [
        (
            str(language),
            [
                Picture(
                    f"sweep_{slug(str(language))}",
                    f"Perplexity ratio on {language} text against the value written over units, "
                    "with intervals.",
                    sweep_figures.sweep(group),
                )
            ],
        )
        for language, group in table.groupby("language", sort=False)
    ]
    shown = plain(table, "sweep", "Every point", "Perplexity ratio for every value written.")
    return Section("sweep", "Sweep of the value written", (), [Tabs("sweep", panels), shown])


_OPTIONAL = {
    "polysemanticity": (
        "Polysemanticity",
        "What the language-specific neurons carry besides their language.",
    ),
    "unit_effects": (
        "Effect of single units",
        "Perplexity ratio when a single unit is overwritten.",
    ),
    "forcing": (
        "Forcing the output language",
        "Language detected in the generated text with one language's neurons switched off and "
        "another's switched on: share of outputs, and their number.",
    ),
}
_DRAWN: Mapping[str, Callable[[pd.DataFrame], Figure]] = {
    "forcing": part_figures.forcing,
    "unit_effects": part_figures.unit_effects,
}
_SHOWN = {"neurons", "overlap", "perplexity", "scores", "rules", "finetuning", "adapters", "sweep"}


def _others(run: Run) -> list[Section]:
    """Optional tables, and tables of parts the report does not know, as they are."""
    sections = []
    for name, table in run.tables.items():
        if name in _SHOWN:
            continue
        title, caption = _OPTIONAL.get(
            name, (name.replace("_", " ").capitalize(), f"Table {name} of the run.")
        )
        data = table.sort_values("ratio", ascending=False) if name == "unit_effects" else table
        file = name if name in COLUMNS or name in _OPTIONAL else f"other_{slug(name)}"
        blocks: list[Block] = []
        if name in _DRAWN:
            blocks.append(Picture(file, caption, _DRAWN[name](table)))
        sections.append(
            Section(f"part-{slug(name)}", title, (), [*blocks, plain(data, file, title, caption)])
        )
    return sections


_DEFINITIONS = (
    (
        "LAPE",
        "A unit's activation probability in each language (share of tokens with a positive "
        "activation), normalised over the languages; units of low entropy that are active in "
        "some language belong to the languages in which they are active.",
    ),
    (
        "ratio",
        "Perplexity with the units set, divided by the perplexity untouched, on the same held-out "
        "text; its interval comes from resampling documents.",
    ),
    (
        "random, matched",
        "As many units of the same layers drawn at random, none of them in the set; matched draws "
        "have about the same activation probability. A change is credited to the choice of "
        "neurons only beyond every draw.",
    ),
    (
        "significance",
        "Paired comparisons on the same examples with 95 % intervals; p-values after Holm's "
        "correction. Several seeds: the mean is shown, the interval is the envelope of the "
        "seeds' intervals, and the largest p-value counts.",
    ),
    (
        "at chance",
        "The interval of a score does not lie above what guessing would reach; changes of such a "
        "score are not read.",
    ),
    (
        "detectable",
        "The minimum detectable effect: the smallest true difference the comparison would have "
        "found with 80 % probability. Where no difference is shown, smaller ones may exist.",
    ),
)


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings as (dotted name, text) pairs, in order."""
    if isinstance(value, Mapping):
        return [
            pair
            for key, item in value.items()
            for pair in flat(item, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, Mapping) for item in value):
            return [
                pair for place, item in enumerate(value) for pair in flat(item, f"{name}.{place}")
            ]
        return [(name, ", ".join(map(str, value)))]
    return [(name, "–" if value is None else str(value))]


def _pairs(value: Any, name: str, title: str, caption: str) -> list[Table]:
    pairs = flat(value)
    if not pairs:
        return []
    return [plain(pd.DataFrame(pairs, columns=["key", "value"]), name, title, caption)]


def _methods(run: Run) -> Section:
    made = stages(run.info.get("stages", []))
    return Section(
        "methods",
        "Methods and versions",
        (),
        [
            *_pairs(
                run.info.get("parameters", {}), "parameters", "Parameters", "The study as run."
            ),
            *_pairs(run.info.get("model", {}), "model", "Model", "The model's fingerprint."),
            *_pairs(run.environment, "environment", "Environment", "Versions and device."),
            *([made] if made is not None else []),
        ],
        _DEFINITIONS,
    )


def _reproduce(run: Run) -> Section:
    notes = [
        (
            "again",
            "The command made this run; repeated with the same output folder it continues or "
            "finds everything done. study.yaml in the run directory holds every parameter.",
        ),
        (
            "files",
            "report/tables holds every table as CSV (numbers in full), Markdown and LaTeX "
            "(booktabs), report/figures every figure as PNG, SVG and PDF.",
        ),
    ]
    command = run.info.get("command")
    text = " ".join(map(str, command)) if isinstance(command, list) else command
    return Section("reproduce", "How to reproduce", notes=notes, code=str(text) if text else None)
