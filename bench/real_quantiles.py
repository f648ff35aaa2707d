"""Percentiles averaged over batches, as released, on a task of a real model.

``langneurons run gemma-3-270m-methods-seeds -t 'FOLDER/{lang}.txt' ...``, then ``python -m
bench.real_quantiles RUN`` holds each language's LAPE units at their exact percentiles and at the
means of each batch's own percentile, in the run's fine-tunes, beside units of the same activity:
accuracy in points against no intervention, paired, and how far the two lie apart. What has been
measured is kept in RUN/quantiles.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch

from bench._markdown import printed
from bench._stream import COLUMNS, Change, Run
from langneurons.evaluation.deactivation import draws
from langneurons.intervention import Intervention, Value, intervene
from langneurons.statistics import Statistics, collect

NEURONS, SITE, QUANTILES = "lape", "mlp.act", (0.1, 0.9)
TITLES = {"own": "own", "matched": "equally active"}
READINGS = ("exact", "averaged")


def batch_means(run: Run, language: str) -> Statistics:
    """Statistics of the run's text whose quantiles are means over batches of each batch's own."""
    spec = run.workshop.context.spec_of("statistics")
    texts = {language: run.workshop.texts[language].statistics}
    return collect(run.workshop.lm, texts, site=SITE, tokens=spec.tokens, block=spec.block,
                   rows=0, quantiles="batch-mean",
                   output=run.folder / "quantiles" / "statistics")  # fmt: skip


def planned(run: Run, language: str, readings: dict[str, Statistics]) -> dict[str, Change]:
    """What is done in one language, by name."""
    found, exact, done = run.workshop.neurons(NEURONS), readings["exact"], {}
    sets = draws(found, language, exact, random=0, matched=1, seed=0)
    for (kind, _), units in sets.items():
        for q in QUANTILES:
            for name, stats in readings.items():
                value = Value.quantile(stats, language, q)
                written = stats.quantile(language, q)[units.layers, units.indices]
                done[f"P{100 * q:.0f} {name}, {TITLES[kind]}"] = Change(
                    partial(intervene, what=Intervention(units, value)),
                    (units.layers, units.indices, written),
                )
    return done


def apart(run: Run, language: str, readings: dict[str, Statistics]) -> list[list[str]]:
    """How far the two percentiles of the language's units lie apart, in standard deviations."""
    units = run.workshop.neurons(NEURONS)[language]
    spread = readings["exact"].std(language)[units.layers, units.indices]
    rows = []
    for q in QUANTILES:
        exact, averaged = (
            readings[name].quantile(language, q)[units.layers, units.indices] for name in READINGS
        )
        shift = ((averaged - exact) / spread).double()
        quarters = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
        low, middle, high = torch.quantile(shift, quarters).tolist()
        rows.append([language, f"P{100 * q:.0f}", f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]"])
    return rows


def main(folder: Path) -> None:
    run = Run.open(folder)
    english = run.workshop.context.train_language
    changes: dict[str, dict[str, Change]] = {}
    rows: list[list[str]] = []
    exact = run.workshop.statistics(SITE)
    for language in run.languages:
        if language == english:
            continue
        readings = dict(zip(READINGS, (exact, batch_means(run, language)), strict=True))
        changes[language] = planned(run, language, readings)
        rows += apart(run, language, readings)
    print(f"{run.task}, {NEURONS}: percentiles averaged over batches beside exact ones\n")
    printed(["language", "value", "averaged - exact, standard deviations, median [quartiles]"],
            rows)  # fmt: skip
    printed(COLUMNS, list(run.rows(folder / "quantiles", changes)))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-methods-seeds"))
