"""Features of a sparse autoencoder in the place of language neurons, on a task of a real model.

``langneurons run gemma-3-270m-methods-seeds -t 'FOLDER/{lang}.txt' ...``, then ``python -m
bench.real_features RUN`` trains an autoencoder behind a middle layer on the run's text in the model
without a fine-tune, finds each language's features (SAE-LAPE), and holds them at 0, at their mean
in the language's text or at their mean where they are on, in the run's fine-tunes, beside as many
random features and features that are on as often: accuracy in points against no intervention,
paired, and perplexity without a fine-tune. In the language trained on, the features of each other
language are switched off too. What has been measured is kept in RUN/features-task.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from torch import Tensor

from bench._markdown import printed
from bench._stream import COLUMNS, Change, Run
from langneurons.artifacts import digest
from langneurons.data import Blocks, make_blocks
from langneurons.evaluation.deactivation import draws
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.intervening import by_layer, features_changed
from langneurons.features.language import feature_perplexity, feature_statistics
from langneurons.features.training import Recipe, train
from langneurons.identification import NeuronSet, identify
from langneurons.statistics import Statistics

SITE, DRAWS = "resid", 2
RECIPE = Recipe(features=2048, k=32, tokens=100_000)
BLOCK, COUNTED, HELD_OUT = 128, 10_000, 1000
TITLES = {"own": "own", "random": "random", "matched": "on as often"}
VALUES = {"own": ("off", "at the mean", "at the mean where on"), "random": ("off",),
          "matched": ("off", "at the mean")}  # fmt: skip
"""What is written into which features."""


def held(stats: Statistics, means: dict[str, Tensor]) -> dict[str, dict[str, float | Tensor]]:
    """What is written into a language's features, by language and name.

    Where on: the mean over the tokens that a feature is on for.
    """
    return {
        language: {
            "off": 0.0,
            "at the mean": mean.float(),
            "at the mean where on": (mean / stats.prob_positive(language).clamp_min(1e-9)).float(),
        }
        for language, mean in means.items()
    }


def planned(
    language: str,
    run: Run,
    coders: dict[int, Autoencoder],
    found: NeuronSet,
    stats: Statistics,
    values: dict[str, dict[str, float | Tensor]],
) -> dict[str, Change]:
    """What is done in one language, by name; in the one trained on, others' features are off."""
    if language == run.workshop.context.train_language:
        others = [name for name in run.languages if name != language]
        cells = [(other, "own", 0, "off", found[other]) for other in others]
    else:
        sets = draws(found, language, stats, random=DRAWS, matched=DRAWS, seed=0)
        cells = [(language, kind, n, value, units)
                 for (kind, n), units in sets.items() for value in VALUES[kind]]  # fmt: skip
    done = {}
    for owner, kind, n, value, units in cells:
        changed = by_layer(units, list(coders), values[owner][value])
        parts = [item for c in changed.values() for item in (c.index, c.value)]
        name = f"{owner}, {value}, {TITLES[kind]}" + (f" {n}" if kind != "own" else "")
        done[name] = Change(
            partial(features_changed, site=SITE, coders=coders, changes=changed),
            (*(coder.w_dec for coder in coders.values()), *parts),
        )
    return done


def main(folder: Path) -> None:
    run = Run.open(folder)
    lm, out, config = run.workshop.lm, folder / "features-task", run.workshop.context
    layer = lm.layers // 2
    out.mkdir(exist_ok=True)
    texts = {lang: run.workshop.texts[lang].statistics for lang in config.languages}

    def blocks(tokens: int) -> dict[str, Blocks]:
        return {lang: make_blocks(item, lm.tokenizer, block=BLOCK, tokens=tokens)
                for lang, item in texts.items()}  # fmt: skip

    kept = out / f"{layer}-{digest(asdict(RECIPE))[:8]}"
    if not (kept / "cfg.json").is_file():
        share = RECIPE.tokens // len(texts)
        train(lm, blocks(share), SITE, [layer], RECIPE, folder=out)[layer].save(kept)
    coders = {layer: Autoencoder.load(kept)}
    stats, means = feature_statistics(lm, blocks(COUNTED), SITE, coders)
    found = identify(stats, method="lape")
    changes = {
        language: planned(language, run, coders, found, stats, held(stats, means))
        for language in run.languages
    }
    print(f"{run.task}, {RECIPE.features} features behind layer {layer} of {lm.layers}\n")
    counted = [[lang, f"{len(found[lang])}", f"{rate(stats, found, lang):.3f}"]
               for lang in run.languages]  # fmt: skip
    printed(["language", "SAE-LAPE features", "on, mean share of its tokens"], counted)
    held_out = {lang: make_blocks(run.workshop.texts[lang].held_out, lm.tokenizer, block=BLOCK,
                                  tokens=HELD_OUT) for lang in run.languages}  # fmt: skip
    table = feature_perplexity(
        lm, found, held_out, SITE, coders, stats, random=DRAWS, matched=DRAWS
    )
    printed(["language off", "text", "features", "perplexity, times"],
            [[row.row, row.column, f"{TITLES[row.kind]} {row.seed}",
              f"{row.ratio:.3f} [{row.low:.3f}, {row.high:.3f}]"]
             for row in table.itertuples() if row.row != config.train_language])  # fmt: skip
    printed(COLUMNS, list(run.rows(out, changes)))


def rate(stats: Statistics, found: NeuronSet, language: str) -> float:
    """Mean share of a language's tokens on which its features are on."""
    units = found[language]
    return float(stats.prob_positive(language)[units.layers, units.indices].mean())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-methods-seeds"))
