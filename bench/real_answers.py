"""In which language a real model answers questions while language neurons are overwritten.

``langneurons run gemma-3-270m-xquad -t 'FOLDER/{lang}.txt' ...``, then ``python -m
bench.real_answers RUN`` prints, for every language but the one trained in: F1 against the
language's own answers and against the training language's answers to the same questions (XQuAD is
parallel), shares of answers in Latin letters and in the language's own script, and F1 over token
ids, as the released code takes it. All of it as the change against no intervention, paired, with
intervals over paragraphs, and own units against each control. Then what was answered to the first
questions. Draws `docs/figures/gemma-answers.svg`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench._markdown import printed
from bench.real_puzzle import Cells, cells, shown, sites, untouched
from bench.real_task import TITLES as UNITS
from langneurons.artifacts import write_text
from langneurons.evaluation import Scores, answer_language, compare
from langneurons.evaluation.answer_language import LATIN, OWN_SCRIPT
from langneurons.evaluation.squad import bag_f1, normalise
from langneurons.interface.workshop import Workshop
from langneurons.reporting import style
from langneurons.reporting.figures import canvas
from langneurons.study import Study

TITLES = {
    "f1": "F1",
    "f1_either": "F1, better of both languages",
    LATIN: "Latin letters",
    OWN_SCRIPT: "own script",
    "f1_ids": "F1 over token ids (released)",
    "f1_spaced": "the same, each answer with a space before it",
}
DRAWN = ("none", "mean", "P10", "zero")
QUESTIONS = 5
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "gemma-answers.svg"

Answers = Mapping[str, list[str]]


def looked_at(scores: Scores, answers: Answers, trained: str, tokenizer: Any) -> Scores:
    """With F1 against the training language's answers, and token ids with a space before both."""

    def ids(text: str) -> list[int]:
        return list(tokenizer(f" {text}", add_special_tokens=False)["input_ids"])

    found = answer_language(scores, answers, trained)
    pairs = zip(found.rows["prediction"], found.rows["gold"], strict=True)
    spaced = [bag_f1(ids(text), ids(gold[0])) for text, gold in pairs]
    rows = found.rows.assign(f1_spaced=spaced)
    return replace(found, metrics=(*found.metrics, "f1_ids", "f1_spaced"), rows=rows)


def of_set(found: Cells, neurons: str) -> Cells:
    """The cells of one neuron set, and the one without intervention."""
    return {key: item for key, item in found.items() if key[2] == neurons or key[0] == "none"}


def values_of(found: Cells) -> list[str]:
    """Values of the own units."""
    return [value for value, kind, *_ in found if kind == "own"]


def title(metric: str) -> str:
    """Heading of a metric; ``f1_LANG`` is against that language's answers."""
    return TITLES.get(metric, f"F1 against {metric.removeprefix('f1_')} answers")


def table(found: Cells) -> list[list[str]]:
    """One row a value and kind of units, the level without intervention in the first.

    The last column has own units against the control of the row, F1 in points.
    """
    plain = untouched(found)
    first = ["untouched", ""]
    for metric in plain.metrics:
        low, high = plain.interval(metric)
        first.append(f"{plain.value(metric):.1f} [{low:.1f}, {high:.1f}]")
    rows = [[*first, ""]]
    own = {value: item for (value, kind, *_), item in found.items() if kind == "own"}
    order = [key for kind in UNITS for key in found if key[1] == kind]
    for value in dict.fromkeys(value for value, *_ in order):
        for key in (key for key in order if key[0] == value):
            control = key[1] != "own"
            kind = UNITS[key[1]] + (f" {key[3]}" if control else "")
            changes = [shown(compare(found[key], plain, metric=m)) for m in plain.metrics]
            against = shown(compare(own[value], found[key])) if control and value in own else ""
            rows.append([sites(value)[0], kind, *changes, against])
    return rows


def counted(found: Cells, answers: Answers, trained: str) -> Iterable[list[str]]:
    """One row a value of the own units: answers by script, and Latin ones with a right word."""
    shown_cells = {"untouched": untouched(found)}
    shown_cells |= {key[0]: item for key, item in found.items() if key[1] == "own"}
    for value, item in shown_cells.items():
        rows = item.rows
        latin = rows[rows[LATIN] == 1]
        words = [set(normalise(text, trained)) for text in latin["prediction"]]
        gold = [{word for answer in answers[key] for word in normalise(answer, trained)}
                for key in latin["id"]]  # fmt: skip
        right = sum(bool(a & b) for a, b in zip(words, gold, strict=True))
        own = int(rows[OWN_SCRIPT].sum())
        counts = (own, len(rows) - own - len(latin), len(latin), right)
        yield [value, *map(str, counts)]


def answers_given(found: Cells) -> list[list[str]]:
    """The answers to the first questions, untouched and by each value of the own units."""
    columns = [untouched(found), *(item for (_, kind, *_), item in found.items() if kind == "own")]
    rows = []
    for _, plain in untouched(found).rows.head(QUESTIONS).iterrows():
        said = [item.rows.set_index("id").loc[plain["id"], "prediction"] for item in columns]
        rows.append([str(plain["gold"][0]), *map(str, said)])
    return rows


def draw(panels: Mapping[str, Cells], trained: str) -> None:
    """One panel a language: F1 against either language's answers, by value, beside a control."""
    looks = {
        ("own", "f1"): (style.VERMILLION, "o", "right in the language"),
        ("own", f"f1_{trained}"): (style.BLUE, "s", f"right in {trained}"),
        ("matched", "f1"): (style.GREY, "v", "right in the language, equally active units"),
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
        if len(found) < 2 or language == trained or "f1" not in untouched(found).metrics:
            continue
        examples = workshop.task(task).examples(trained, study.config.tasks[task].split)
        answers = {item.id: item.answers for item in examples}
        found = {
            key: looked_at(item, answers, trained, workshop.tokenizer)
            for key, item in found.items()
        }
        for neurons in dict.fromkeys(key[2] for key in found if key[1] == "own"):
            part = of_set(found, neurons)
            panels.setdefault(language, part)
            plain = untouched(part)
            print(f"{task}, {adapter}, {neurons}, {language}, n = {plain.n}\n")
            titles = [title(metric) for metric in plain.metrics]
            printed(["value", "units", *titles, "F1, own against it"], table(part))
            if LATIN in plain.metrics:
                last = f"of these with a right {trained} word"
                columns = ["own script", "no letters", "Latin", last]
                printed(["answers, own units", *columns], counted(part, answers, trained))
            printed(["gold", "untouched", *values_of(part)], answers_given(part))
    if not panels:
        sys.exit(f"{run} has no questions answered under interventions: run a study with XQuAD.")
    draw(panels, trained)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-xquad"))
