"""What the stages of sparse features do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from langneurons.artifacts import write_table, write_tensors
from langneurons.interface.workshop import Workshop
from langneurons.models.layers import chosen_layers


def features(workshop: Workshop, output: Path, name: str) -> None:
    """Train autoencoders, or load published ones, and measure how well they describe."""
    from langneurons.features.published import load_published
    from langneurons.features.quality import quality
    from langneurons.features.training import Recipe, train

    spec, lm = workshop.context.spec_of("features")[name], workshop.lm
    layers = chosen_layers(spec.layers, lm.layers)
    if spec.path is not None:
        coders = load_published(
            spec.path, layers, spec.site, width=lm.sites[spec.site].width, model=lm.name
        )
    else:
        recipe = Recipe(
            spec.kind, spec.features, spec.k, spec.tokens, spec.batch, spec.learning_rate,
            seed=workshop.context.seed,
        )  # fmt: skip
        coders = train(lm, _blocks(workshop), spec.site, layers, recipe, folder=output)
    for layer, coder in coders.items():
        coder.save(output / str(layer))
    held = {lang: workshop.held_out_blocks(lang) for lang in workshop.context.languages}
    table = quality(lm, held, spec.site, coders, baseline=workshop.baseline)
    write_table(output / "quality.parquet", table.assign(features=name, site=spec.site))


def feature_languages(workshop: Workshop, output: Path, name: str) -> None:
    """Find the features of each language, and overwrite them."""
    from langneurons.features.autoencoder import Autoencoder
    from langneurons.features.language import (
        feature_perplexity,
        feature_statistics,
        monolinguality,
    )
    from langneurons.identification import identify

    spec, lm = workshop.context.spec_of("features")[name], workshop.lm
    folder = workshop.out / "features" / name
    layers = chosen_layers(spec.layers, lm.layers)
    coders = {layer: Autoencoder.load(folder / str(layer)) for layer in layers}
    stats, means = feature_statistics(lm, _blocks(workshop), spec.site, coders)
    found = identify(stats, method=spec.method, **spec.parameters)
    found.save(output / "features.json")
    stats.save(output / "statistics")
    write_tensors(output / "means.safetensors", means)
    own = monolinguality(means)
    rows = [
        pd.DataFrame(
            {
                "language": lang,
                "layer": [layers[place] for place in units.layers.tolist()],
                "feature": units.indices.numpy(),
                "rate": stats.prob_positive(lang)[units.layers, units.indices].numpy(),
                "monolinguality": own[lang][units.layers, units.indices].numpy(),
            }
        )
        for lang, units in found.items()
    ]
    write_table(output / "found.parquet", pd.concat(rows, ignore_index=True).assign(features=name))
    held = {lang: workshop.held_out_blocks(lang) for lang in workshop.context.languages}
    scaled = spec.value.startswith("x")
    value = 0.0 if spec.value == "zero" else float(spec.value.removeprefix("x"))
    table = feature_perplexity(
        lm,
        found,
        held,
        spec.site,
        coders,
        stats,
        value=value,
        mode="multiply" if scaled else "set",
        random=spec.random,
        matched=spec.matched,
        seed=workshop.context.seed,
        baseline=workshop.baseline,
    )
    write_table(output / "perplexity.parquet", table.assign(features=name, value=spec.value))


def _blocks(workshop: Workshop) -> dict[str, Any]:
    """Blocks of the text that statistics are collected on."""
    from langneurons.data import make_blocks

    spec = workshop.context.spec_of("statistics")
    return {
        lang: make_blocks(
            workshop.texts[lang].statistics,
            workshop.lm.tokenizer,
            block=spec.block,
            tokens=spec.tokens,
        )
        for lang in workshop.context.languages
    }
