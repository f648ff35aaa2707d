"""Is an overwrite harmful where the head reads, or in the text? Three trainings of a real model.

``langneurons run gemma-3-270m-last-token -t 'FOLDER/{lang}.txt' ...``, then
``python -m bench.real_last_token RUN`` prints accuracy and its change in points, one column a
training, with the mean and its t interval over the trainings, and draws
`docs/figures/gemma-last-token.svg`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from bench._markdown import printed
from bench.real_puzzle import sites
from langneurons.artifacts import read_table, write_text
from langneurons.evaluation.seeds import spread
from langneurons.reporting import style
from langneurons.reporting.figures import canvas

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "gemma-last-token.svg"
DRAWN = {
    "mean": ("mean, every token", style.VERMILLION, "o"),
    "mean@last": ("mean, last token alone", style.BLUE, "s"),
    "mean@rest": ("mean, all other tokens", style.GREEN, "D"),
    "mean@en": ("English mean, every token", style.GREY, "^"),
    "zero": ("zero, every token", style.INK, "v"),
}


def over_trainings(values: pd.Series) -> str:
    """The mean of the trainings with its t interval."""
    found = spread(values)
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def changes(scores: pd.DataFrame) -> list[list[str]]:
    """One row a language, value and kind of units."""
    cells = scores[scores["intervention"] != "none"]
    rows = []
    for (language, value, kind), group in cells.groupby(
        ["language", "intervention", "units"], sort=False
    ):
        each = [f"{row.difference:+.1f} [{row.difference_low:+.1f}, {row.difference_high:+.1f}]"
                for row in group.itertuples()]  # fmt: skip
        rows.append([language, sites(value)[0], kind, *each, over_trainings(group["difference"])])
    return rows


def untouched(scores: pd.DataFrame) -> list[list[str]]:
    """One row a language: accuracy of each training."""
    plain = scores[scores["intervention"] == "none"]
    rows = []
    for language, group in plain.groupby("language", sort=False):
        each = [f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]" for row in group.itertuples()]
        rows.append([language, *each])
    return rows


def draw(scores: pd.DataFrame) -> None:
    """Change of each language under own neurons, by value and tokens, a point a training."""
    own = scores[scores["units"] == "own"]
    languages = list(dict.fromkeys(own["language"]))
    kinds = {value: look for value, look in DRAWN.items() if value in set(own["intervention"])}
    with style.figure_style("gemma-last-token"):
        figure = canvas.blank(3.0)
        figure.set_facecolor("white")  # readable on a dark page
        axes = figure.subplots()
        for place, (value, (label, colour, mark)) in enumerate(kinds.items()):
            for number, language in enumerate(languages):
                rows = own[(own["intervention"] == value) & (own["language"] == language)]
                x = number + (place - (len(kinds) - 1) / 2) * 0.16
                seeds = [x + (n - (len(rows) - 1) / 2) * 0.035 for n in range(len(rows))]
                ends = rows["difference"] - rows["difference_low"], rows["difference_high"] - rows[
                    "difference"]  # fmt: skip
                axes.errorbar(seeds, rows["difference"], yerr=ends, fmt=mark, ms=4, lw=0.9,
                              color=colour, label=label if number == 0 else None)  # fmt: skip
        axes.axhline(0, color=style.INK, lw=0.7)
        axes.set_xticks(range(len(languages)), languages)
        axes.set_ylabel("accuracy, change in points")
        figure.legend(loc="outside upper center", ncols=3, columnspacing=1, handlelength=1.2)
        write_text(FIGURE, canvas.titled(canvas.svg(figure, FIGURE.stem)))


def main(run: Path) -> None:
    scores = read_table(run / "tables" / "scores.parquet")
    scores = scores[scores["metric"] == "accuracy"]
    trainings = list(dict.fromkeys(scores["adapter"]))
    printed(["language", *trainings], untouched(scores))
    printed(["language", "value", "units", *trainings, "mean over trainings"], changes(scores))
    draw(scores)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-last-token"))
