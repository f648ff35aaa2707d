"""In which language a real model answers questions while language neurons are overwritten.

``langneurons run gemma-3-270m-xquad -t 'FOLDER/{lang}.txt' ...``, then ``python -m
bench.real_answers RUN`` prints, for every cell and language but the one trained in: F1 against the
language's own answers and against the training language's answers to the same questions (XQuAD is
parallel), the share of answers in Latin letters where the language has others, and F1 over token
ids, as the released code takes it: the change against no intervention, paired, with intervals over
paragraphs; own units against each control; and the answers to the first questions. Draws
`docs/figures/gemma-answers.svg`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._markdown import printed
from bench.real_puzzle import Cells, cells, shown, untouched
from langneurons.artifacts import write_text
from langneurons.evaluation import Scores, answer_language, compare
from langneurons.evaluation.squad import bag_f1
from langneurons.reporting import style
from langneurons.reporting.figures import canvas
from langneurons.study import Study
from langneurons.study.workshop import Workshop

METRICS = {
    "f1": "F1",
    "f1_en": "F1, English answers",
    "f1_either": "F1, better of both",
    "latin": "Latin letters",
    "f1_ids": "F1 over token ids (released)",
    "f1_spaced": "the same, each answer with a space before it",
}
KINDS = ("own", "matched", "random")
LABELS = {"own": "own", "matched": "equally active", "random": "random"}
DRAWN = ("none", "mean", "P10", "zero")
QUESTIONS = 5
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "gemma-answers.svg"


def spaced(scores: Scores, tokenizer: Any) -> Scores:
    """With F1 over token ids once more, of the texts with a space before each."""

    def ids(text: str) -> list[int]:
        return list(tokenizer(f" {text}", add_special_tokens=False)["input_ids"])

    rows = scores.rows
    again = [bag_f1(ids(text), ids(gold[0])) for text, gold in zip(rows["prediction"], rows["gold"],
                                                                    strict=True)]  # fmt: skip
    return replace(scores, metrics=tuple(METRICS), rows=rows.assign(f1_spaced=again))


def table(found: Cells) -> list[list[str]]:
    """One row a value and kind of units, the level without intervention in the first.

    The last column has own units against the control of the row, F1 in points.
    """
    plain = untouched(found)
    first = ["untouched", ""]
    for metric in METRICS:
        low, high = plain.interval(metric)
        first.append(f"{plain.value(metric):.1f} [{low:.1f}, {high:.1f}]")
    rows = [[*first, ""]]
    order = sorted((key for key in found if key[0] != "none"), key=lambda key: KINDS.index(key[1]))
    for value in dict.fromkeys(value for value, *_ in order):
        own = next(found[key] for key in order if key[:2] == (value, "own"))
        for key in order:
            if key[0] == value:
                kind = LABELS[key[1]] + (f" {key[3]}" if key[1] != "own" else "")
                changes = [shown(compare(found[key], plain, metric=name)) for name in METRICS]
                against = shown(compare(own, found[key])) if key[1] != "own" else ""
                rows.append([value, kind, *changes, against])
    return rows


def answers_given(found: Cells) -> list[list[str]]:
    """The answers to the first questions, untouched and by each value of the own units."""
    columns = [untouched(found), *(item for (_, kind, *_), item in found.items() if kind == "own")]
    rows = []
    for place in range(QUESTIONS):
        plain = untouched(found).rows.iloc[place]
        said = [item.rows.set_index("id").loc[plain["id"], "prediction"] for item in columns]
        rows.append([str(plain["gold"][0]), *map(str, said)])
    return rows


def draw(panels: Mapping[str, Cells]) -> None:
    """One panel a language: F1 against either language's answers, by value, beside a control."""
    looks = {
        ("own", "f1"): (style.VERMILLION, "o", "own answers"),
        ("own", "f1_en"): (style.BLUE, "s", "English answers to the same questions"),
        ("matched", "f1"): (style.GREY, "v", "own answers, equally active units"),
    }
    with style.figure_style(FIGURE.stem):
        figure = canvas.blank(2.8)
        figure.set_facecolor("white")  # readable on a dark page
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for place, (language, found) in zip(axes, panels.items(), strict=True):
            for number, ((kind, metric), (colour, mark, label)) in enumerate(looks.items()):
                points = []
                for at, value in enumerate(DRAWN):
                    item = untouched(found) if value == "none" else next(
                        (cell for (other, units, _, seed), cell in found.items()
                         if (other, units, seed) == (value, kind, 0)), None)  # fmt: skip
                    if item is not None:
                        low, high = item.interval(metric)
                        points.append((at + 0.14 * (number - 1), item.value(metric), low, high))
                x, y, low, high = map(np.array, zip(*points, strict=True))
                ends = [y - low, high - y]
                place.errorbar(x, y, yerr=ends, fmt=mark, ms=4, lw=0.9, color=colour, label=label)
            names = ["untouched" if value == "none" else value for value in DRAWN]
            place.set_xticks(range(len(DRAWN)), names)
            place.set_title(language)
        axes[0].set_ylabel("F1, %")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        write_text(FIGURE, canvas.titled(canvas.svg(figure, FIGURE.stem)))


def main(run: Path) -> None:
    study = Study.from_yaml(str(run / "study.yaml"))
    workshop, trained = Workshop(study.config, run, {}), study.config.train_language
    panels: dict[str, Cells] = {}
    for folder in sorted((run / "scores").glob("*/*/*")):
        task, adapter, language = folder.relative_to(run / "scores").parts
        found = cells(folder)
        if len(found) < 2 or language == trained:
            continue
        examples = workshop.task(task).examples(trained, study.config.tasks[task].split)
        answers = {item.id: item.answers for item in examples}
        found = {
            key: spaced(answer_language(item, answers, trained), workshop.tokenizer)
            for key, item in found.items()
        }
        panels[language] = found
        print(f"{task}, {adapter}, {language}, n = {untouched(found).n}\n")
        printed(["value", "units", *METRICS.values(), "F1, own against it"], table(found))
        values = [value for value, kind, *_ in found if kind == "own"]
        printed(["gold", "untouched", *values], answers_given(found))
    draw(panels)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-xquad"))
