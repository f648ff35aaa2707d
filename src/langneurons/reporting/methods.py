"""Methods, versions and how to repeat the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from langneurons.reporting.inputs import Run
from langneurons.reporting.sections import Section
from langneurons.reporting.tables import Table
from langneurons.reporting.tables.plain import plain, stages

GLOSSARY = (
    (
        "control",
        "a control",
        "As many units of the same layers drawn at random, none of them in the set, given the same "
        "treatment; equally active (matched) draws have about the same activation probability. A "
        "change is credited to the choice of units only beyond every draw.",
    ),
    (
        "interval",
        "an interval",
        "A 95 % interval: the values that fit the data, had other examples (of a task), documents "
        "(of perplexity) or trainings (of seeds) been drawn. One that leaves 0 out, or 1 for a "
        "ratio, shows a change.",
    ),
    (
        "significance",
        "significance",
        "Paired comparisons on the same examples with 95 % intervals; p-values after Holm's "
        "correction. Several seeds: the mean is shown, the interval is the envelope of the "
        "seeds' intervals, and the largest p-value counts.",
    ),
    (
        "ratio",
        "a ratio",
        "Perplexity with the units set, divided by the perplexity untouched, on the same held-out "
        "text; its interval is over documents.",
    ),
    (
        "chance",
        "at chance",
        "The interval of a score does not lie above what guessing would reach; changes of such a "
        "score are not read.",
    ),
    (
        "detectable",
        "detectable",
        "The minimum detectable effect: the smallest true difference the comparison would have "
        "found with 80 % probability. Where no difference is shown, smaller ones may exist.",
    ),
    (
        "lape",
        "LAPE",
        "A unit's activation probability in each language (share of tokens with a positive "
        "activation), normalised over the languages; units of low entropy that are active in "
        "some language belong to the languages in which they are active.",
    ),
)
"""Terms that results are read with: key, term, and what it means; one click away on the page."""


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


def methods(run: Run) -> Section:
    """How it was done: terms, parameters, model, environment and stages."""
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
        [(term, text) for _, term, text in GLOSSARY],
    )


def reproduce(run: Run) -> Section:
    """The command that repeats the run."""
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
