"""Features of a sparse autoencoder in the place of language neurons, on a task of a real model.

``langneurons run gemma-3-270m-methods-xnli -t 'FOLDER/{lang}.txt' ...``, then ``python -m
bench.real_features RUN`` trains an autoencoder behind a middle layer on the run's text in the model
without a fine-tune, finds each language's features (SAE-LAPE), and holds them at 0 or at their mean
in the language's text in the run's fine-tunes, beside as many random features and features that are
on as often: accuracy in points against no intervention, paired. In the language trained on, the
features of each other language are switched off too. What has been measured is kept in
RUN/features-task.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from torch import Tensor

from bench._markdown import printed
from bench._stream import COLUMNS, Change, Run
from langneurons.beyond.features.autoencoder import Autoencoder
from langneurons.beyond.features.intervening import by_layer, features_changed
from langneurons.beyond.features.language import feature_statistics
from langneurons.beyond.features.training import Recipe, train
from langneurons.data import Blocks, make_blocks
from langneurons.identification import NeuronSet, identify
from langneurons.statistics import Statistics

SITE, DRAWS = "resid", 2
RECIPE = Recipe(features=2048, k=32, tokens=100_000)
BLOCK, COUNTED = 128, 10_000


def controls(found: NeuronSet, stats: Statistics) -> dict[str, NeuronSet]:
    """The features and draws of as many random ones and of ones on as often."""
    sets = {"own": found}
    for n in range(DRAWS):
        sets[f"random {n}"] = found.random_like(n)
        sets[f"on as often {n}"] = found.random_like(n, matched="rate", statistics=stats)
    return sets


def main(folder: Path) -> None:
    run = Run.open(folder)
    lm, out, config = run.workshop.lm, folder / "features-task", run.workshop.config
    layer = lm.layers // 2
    out.mkdir(exist_ok=True)
    texts = {lang: run.workshop.texts[lang].statistics for lang in config.languages}

    def blocks(tokens: int) -> dict[str, Blocks]:
        return {lang: make_blocks(item, lm.tokenizer, block=BLOCK, tokens=tokens)
                for lang, item in texts.items()}  # fmt: skip

    kept = out / str(layer)
    if not kept.is_dir():
        share = RECIPE.tokens // len(texts)
        train(lm, blocks(share), SITE, [layer], RECIPE, folder=out)[layer].save(kept)
    coders = {layer: Autoencoder.load(kept)}
    stats, means = feature_statistics(lm, blocks(COUNTED), SITE, coders)
    found = identify(stats, method="lape")
    english = str(config.train_language)
    sets = controls(found, stats)
    changes: dict[str, dict[str, Change]] = {}
    for language in run.languages:
        done: dict[str, Change] = {}
        others = [name for name in run.languages if name != language]
        for owner in others if language == english else [language]:
            held: dict[str, float | Tensor] = {"off": 0.0, "at the mean": means[owner].float()}
            for value, written in held.items():
                for kind, features in sets.items():
                    # In the language trained on: whether the others' own features do harm there.
                    if (language == english and (value, kind) != ("off", "own")) or (
                        value != "off" and "random" in kind
                    ):
                        continue
                    changed = by_layer(features[owner], [layer], written)
                    done[f"{owner}, {value}, {kind}"] = partial(
                        features_changed, site=SITE, coders=coders, changes=changed
                    )
        changes[language] = done
    print(f"{run.task}, {RECIPE.features} features behind layer {layer} of {lm.layers}\n")
    counted = [[lang, f"{len(found[lang])}", f"{rate(stats, found, lang):.3f}"]
               for lang in run.languages]  # fmt: skip
    printed(["language", "SAE-LAPE features", "on, mean share of its tokens"], counted)
    printed(COLUMNS, list(run.rows(out, changes)))


def rate(stats: Statistics, found: NeuronSet, language: str) -> float:
    """Mean share of a language's tokens on which its features are on."""
    units = found[language]
    return float(stats.prob_positive(language)[units.layers, units.indices].mean())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gemma-3-270m-methods-xnli"))
