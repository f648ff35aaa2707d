"""The paper's puzzle on a real model: which value, taken where, written where, costs what.

``langneurons run gemma-3-270m-puzzle -t 'FOLDER/{lang}.txt' ...``, then
``python -m bench.real_puzzle RUN`` prints, as Markdown and in points against no intervention: own
neurons and controls at every value, site and token; how the released code's crossing differs from
the right site on the same examples; and where each value lies in its unit's own range. Draws
`docs/figures/gemma-puzzle.svg`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch

from bench._markdown import printed
from langneurons.artifacts import write_text
from langneurons.evaluation import Scores, compare, evaluate
from langneurons.evaluation.comparison import Comparison
from langneurons.interface.workshop import Workshop
from langneurons.intervention import Intervention
from langneurons.intervention.words import parse
from langneurons.reporting import style
from langneurons.reporting.figures import canvas
from langneurons.study import Study

ACT, PRE = "mlp.act", "mlp.pre"
SITES = {
    (ACT, ACT): "behind, behind",
    (PRE, ACT): "before, behind (released)",
    (PRE, PRE): "before, before",
    (ACT, PRE): "behind, before",
}
KINDS = ("own", "random", "matched")
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "gemma-puzzle.svg"
DRAWN = ("zero", "P5", "P10", "P25", "P50", "P75", "P90", "P95", "mean", "mean@en")
DRAWS = 3
EXAMPLES = 90
"""Prompts whose last tokens are looked at."""

Cells = dict[tuple[str, str, str, int], Scores]


def cells(folder: Path) -> Cells:
    """The scores of one adapter and language, by value, units, set and draw."""
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        found[_key(path.stem)] = Scores.load(path)
    return found


def _key(label: str) -> tuple[str, str, str, int]:
    """What a cell's file name says: VALUE-KIND-SET[-SEED], or ``none``."""
    if label == "none":
        return "none", "-", "-", 0
    found = re.match(r"(.+?)-(own|random|matched)-(.+)", label)
    assert found is not None, label
    value, kind, rest = found.groups()
    neurons, _, seed = (rest, "", "0") if kind == "own" else rest.rpartition("-")
    return value, kind, neurons, int(seed)


def untouched(found: Cells) -> Scores:
    """The scores without intervention."""
    return next(scores for (value, *_), scores in found.items() if value == "none")


def sites(value: str) -> tuple[str, str, str]:
    """A value (with its language and tokens), where it is taken, and where it is written."""
    what = parse(value)
    language = f" of {what.language}" if what.language else ""
    tokens = {"all": "", "last": ", last token", "rest": ", other tokens"}[what.scope]
    return f"{what.name}{language}{tokens}", what.taken or ACT, what.written or ACT


def shown(change: Comparison) -> str:
    """A change in points with its interval."""
    return f"{change.difference:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"


def by_site(found: Cells) -> list[list[str]]:
    """One row a value and units, one column a pair of sites."""
    plain = untouched(found)
    order = [value for value, units, *_ in found if units == "own"]
    names = list(dict.fromkeys(sites(value)[0] for value in order))
    draws = sorted({(kind, seed) for _, kind, _, seed in found if kind in KINDS},
                   key=lambda item: (KINDS.index(item[0]), item[1]))  # fmt: skip
    rows = []
    for name in names:
        for kind, seed in draws:
            row = [name, kind if kind == "own" else f"{kind} {seed}"]
            for pair in SITES:
                cell = next(
                    (scores for (value, units, _, number), scores in found.items()
                     if (units, number) == (kind, seed) and sites(value) == (name, *pair)),
                    None,
                )  # fmt: skip
                row.append("" if cell is None else shown(compare(cell, plain)))
            if any(row[2:]):
                rows.append(row)
    return rows


def crossed(found: Cells) -> list[list[str]]:
    """The released code's crossing against the right site, example by example."""
    rows = []
    for (value, kind, neurons, seed), scores in found.items():
        name, taken, written = sites(value)
        right = found.get((name, kind, neurons, seed))
        if kind in KINDS and (taken, written) == (PRE, ACT) and right is not None:
            rows.append([name, kind, str(seed), shown(compare(scores, right))])
    return sorted(rows, key=lambda row: (KINDS.index(row[1]), row[0]))


def places(workshop: Workshop, neurons: str, language: str, values: list[str]) -> list[list[str]]:
    """Where a value lies in the range of the units it is written to, behind the activation."""
    from langneurons.evaluation.deactivation import place_in_range

    rows = []
    for value in values:
        _, _, written = sites(value)
        if written != ACT:
            continue
        done = Intervention(
            workshop.units(neurons, language, "own", 0),
            workshop.value(value, language, ACT),
            protocol="paper",
        )
        place = place_in_range(workshop.lm, done, workshop.statistics(ACT), language)
        rows.append([value, *(f"{100 * place[key]:.0f} %" for key in ("unusual", "impossible")),
                     f"{place['distance']:.1f}"])  # fmt: skip
    return rows


def at_last_token(workshop: Workshop, cell: tuple[str, str, str], neurons: str) -> list[list[str]]:
    """How active a language's units are in text and where the head reads, beside a control.

    In standard deviations of each unit in its own language's text, from 0: median of the units and
    quartiles.
    """
    from langneurons.evaluation.examples import Pool, example_activations

    task, adapter, language = cell
    spec, lm = workshop.context.spec_of("tasks")[task], workshop.adapted(task, adapter)
    stats = workshop.statistics(ACT)
    examples = workshop.task(task).examples(language, spec.split, limit=EXAMPLES)
    found = {f"text, {lang}": stats.mean(lang) for lang in dict.fromkeys((language, "en"))}
    pools: dict[str, Pool] = {"prompts, mean over tokens": "mean", "prompts, last token": "last"}
    for name, pool in pools.items():
        values = example_activations(lm, workshop.task(task), examples, pool=pool)
        found[f"{name}, {language}"] = values.mean(0).double()
    rows = []
    for name, value in found.items():
        row = [name]
        for kind in ("own", "matched"):
            units = workshop.units(neurons, language, kind, 0)
            where = (units.layers, units.indices)
            low, middle, high = (value[where] / stats.std(language)[where]).quantile(
                torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
            )
            row.append(f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]")
        rows.append(row)
    return rows


def on_english(workshop: Workshop, cell: tuple[str, str, str], neurons: str) -> list[list[str]]:
    """The same units, held at the same values, while the prompts are English; beside controls."""
    task, adapter, language = cell
    spec, lm = workshop.context.spec_of("tasks")[task], workshop.adapted(task, adapter)
    plain = Scores.load(workshop.out / "scores" / task / adapter / "en" / "none.parquet")
    rows = []
    looks = [("own", 0, value) for value in ("zero", "mean", "P10")]
    looks += [(kind, seed, "mean") for kind in ("random", "matched") for seed in range(DRAWS)]
    for kind, seed, value in looks:
        done = Intervention(
            workshop.units(neurons, language, kind, seed), workshop.value(value, language, ACT)
        )
        scores = evaluate(lm, workshop.task(task), "en", intervention=done, split=spec.split,
                          limit=spec.limit)  # fmt: skip
        rows.append([value, kind if kind == "own" else f"{kind} {seed}",
                     shown(compare(scores, plain))])  # fmt: skip
    return rows


def drawn(found: Cells, axes: Any) -> None:
    """Change by value: own units at both sites and over some tokens, beside a control."""
    plain = untouched(found)
    looks = {
        ("own", "", ACT): ("own neurons", style.VERMILLION, "o"),
        ("own", "", PRE): ("own, crossed site", style.ORANGE, "D"),
        ("own", "last", ACT): ("own, last token alone", style.BLUE, "s"),
        ("own", "rest", ACT): ("own, all other tokens", style.GREEN, "^"),
        ("matched", "", ACT): ("equally active neurons", style.GREY, "v"),
    }
    for place, ((kind, scope, taken), (label, colour, mark)) in enumerate(looks.items()):
        points = []
        for number, name in enumerate(DRAWN):
            value = "@".join(part for part in (name, PRE if taken == PRE else "", scope) if part)
            cell = next((scores for (other, units, _, seed), scores in found.items()
                         if (other, units, seed) == (value, kind, 0)), None)  # fmt: skip
            if cell is not None:
                points.append((number + 0.13 * (place - 2), compare(cell, plain)))
        x = [point for point, _ in points]
        y = [change.difference for _, change in points]
        ends = [[change.difference - change.low for _, change in points],
                [change.high - change.difference for _, change in points]]  # fmt: skip
        axes.errorbar(x, y, yerr=ends, fmt=mark, ms=4, lw=0.9, color=colour, label=label)
    axes.axhline(0, color=style.INK, lw=0.7)
    axes.set_xticks(range(len(DRAWN)), [sites(name)[0] for name in DRAWN])


def draw(cells_of: dict[str, Cells]) -> None:
    """One panel a language."""
    with style.figure_style(FIGURE.stem):
        figure = canvas.blank(2.1 * len(cells_of) + 0.5)
        figure.set_facecolor("white")  # readable on a dark page
        for axes, (language, found) in zip(
            figure.subplots(len(cells_of), squeeze=False)[:, 0], cells_of.items(), strict=True
        ):
            drawn(found, axes)
            axes.set_ylabel(f"{language}, points")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, columnspacing=1)
        write_text(FIGURE, canvas.titled(canvas.svg(figure, FIGURE.stem)))


def main(run: Path) -> None:
    study = Study.from_yaml(str(run / "study.yaml"))
    workshop = Workshop(study.config, run, {})
    panels = {}
    for folder in sorted((run / "scores").glob("*/*/*")):
        found = cells(folder)
        if len(found) < 2:
            continue
        task, adapter, language = folder.relative_to(run / "scores").parts
        panels[language] = found
        plain = untouched(found)
        low, high = plain.interval()
        level = f"untouched {plain.value():.1f} [{low:.1f}, {high:.1f}], n = {plain.n}"
        print(f"{task}, {adapter}, {language}: {level}\n")
        printed(["value", "units", *SITES.values()], by_site(found))
        pairs = crossed(found)
        if pairs:
            print("crossed (before, behind) against right (behind, behind)\n")
            printed(["value", "units", "draw", "change"], pairs)
        neurons = next(name for _, kind, name, _ in found if kind == "own")
        values = list(dict.fromkeys(value for value, kind, *_ in found if kind == "own"))
        print("the value in the own units' range in this language\n")
        printed(["value", "outside the middle 98 %", "impossible", "standard deviations from mean"],
                places(workshop, neurons, language, values))  # fmt: skip
        print("how active the own units are\n")
        printed(["where", "own: median [quartiles], sd from 0", "equally active"],
                at_last_token(workshop, (task, adapter, language), neurons))  # fmt: skip
        print(f"the same {language} units on English prompts\n")
        printed(
            ["value", "units", "change"], on_english(workshop, (task, adapter, language), neurons)
        )
    draw(panels)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-puzzle"))
