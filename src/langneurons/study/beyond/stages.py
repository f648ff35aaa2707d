"""What the stages beyond neurons do: one function a kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from langneurons.artifacts import write_table
from langneurons.errors import InputError
from langneurons.study.workshop import Workshop


def _deactivation(workshop: Workshop, output: Path, language: str) -> None:
    from langneurons.beyond.deactivation import deactivate

    spec = workshop.config.deactivation
    assert spec is not None
    found = workshop.neurons(spec.neurons)
    done = deactivate(
        workshop.lm,
        found,
        language,
        workshop.held_out_blocks(language),
        {name: workshop.change(name, language, found.site) for name in spec.values},
        workshop.statistics(found.site),
        random=spec.random,
        matched=spec.matched,
        residual_blocks=spec.residual_blocks,
        baseline=workshop.untouched(language),
        seed=workshop.config.seed,
    )
    for name, table in (("change", done.table), ("residual", done.residual)):
        write_table(
            output / f"{name}.parquet", table.assign(neurons=spec.neurons, language=language)
        )


def _crossing(workshop: Workshop, output: Path, neurons: str, language: str) -> None:
    from langneurons.beyond.crossing import cross

    spec = workshop.config.crossing
    assert spec is not None
    table = cross(
        workshop.lm,
        workshop.neurons(neurons),
        language,
        workshop.held_out_blocks(language),
        spec.values,
        workshop.statistics("mlp.act"),
        workshop.statistics("mlp.pre"),
        random=spec.random,
        matched=spec.matched,
        batched=_per_batch(workshop, language) if spec.per_batch else None,
        baseline=workshop.untouched(language),
        seed=workshop.config.seed,
    )
    write_table(output, table.assign(neurons=neurons, language=language))


def _per_batch(workshop: Workshop, language: str) -> Any:
    """Statistics of the activation whose quantiles are means over batches, as released."""
    from langneurons.statistics import collect

    spec = workshop.config.statistics
    return collect(
        workshop.lm,
        {language: workshop.texts[language].statistics},
        site="mlp.act",
        tokens=spec.tokens,
        block=spec.block,
        rows=0,
        quantiles="batch-mean",
    )


def _polysemanticity(workshop: Workshop, output: Path, language: str) -> None:
    from langneurons.beyond.polysemanticity import polysemanticity

    spec = workshop.config.polysemanticity
    assert spec is not None
    found = workshop.neurons(spec.neurons)
    task = workshop.task(spec.task)
    tested = []
    if spec.tested:
        tested = task.examples(language, spec.test_split, spec.tested, workshop.config.seed)
    done = polysemanticity(
        workshop.lm,
        found,
        language,
        workshop.statistics(found.site),
        task,
        task.examples(language, spec.split, spec.examples, workshop.config.seed),
        tested,
        **workshop.change(spec.value, language, found.site),
        matched=spec.matched,
        pool=spec.pool,
        threshold=spec.threshold,
        harm_units=spec.harm_units,
        seed=workshop.config.seed,
    )
    about = {"neurons": spec.neurons, "language": language, "task": spec.task}
    for name, table in (
        ("units", done.units),
        ("shares", done.shares),
        ("correlations", done.correlations),
    ):
        write_table(output / f"{name}.parquet", table.assign(**about))


def _subspaces(workshop: Workshop, output: Path, name: str) -> None:
    from langneurons.beyond.erasure import erase_languages, move
    from langneurons.beyond.examples import AnswerLoss
    from langneurons.evaluation.token_loss import find_head

    config, spec = workshop.config, workshop.config.subspaces[name]
    about = {"part": name, "site": spec.site}
    stats = workshop.statistics(spec.site)
    layers = chosen_layers(spec.layers, workshop.lm.layers)
    tasks = {}
    for lang in spec.task_languages if spec.task else ():
        task = workshop.task(str(spec.task))
        examples = task.examples(lang, config.tasks[str(spec.task)].split, spec.examples)
        tasks[f"{spec.task} {lang}"] = AnswerLoss(
            workshop.lm, task, lang, examples, find_head(workshop.lm)
        )
    languages = spec.languages or config.languages
    done = erase_languages(
        workshop.lm,
        stats,
        {lang: workshop.held_out_blocks(lang) for lang in languages},
        layers=layers,
        kinds=spec.kinds,
        neurons=workshop.neurons(spec.neurons) if spec.neurons else None,
        random=spec.random,
        tasks=tasks,
        rows=spec.rows,
        seed=config.seed,
    )
    write_table(output / "language.parquet", done.language.assign(**about))
    write_table(output / "cost.parquet", done.cost.assign(**about))
    moved = [
        move(
            workshop.lm,
            stats,
            workshop.held_out_blocks(source),
            source,
            target,
            layer=layer,
            kinds=spec.kinds,
            random=spec.random,
            rows=spec.rows,
            seed=config.seed,
        ).assign(source=source, target=target, layer=layer, **about)
        for source, target in spec.moves
        for layer in layers
    ]
    if moved:
        write_table(output / "moves.parquet", pd.concat(moved, ignore_index=True))


def _blocks(workshop: Workshop) -> dict[str, Any]:
    """Blocks of the text that statistics are collected on."""
    from langneurons.data import make_blocks

    spec = workshop.config.statistics
    return {
        lang: make_blocks(
            workshop.texts[lang].statistics,
            workshop.lm.tokenizer,
            block=spec.block,
            tokens=spec.tokens,
        )
        for lang in workshop.config.languages
    }


def _features(workshop: Workshop, output: Path, name: str) -> None:
    from langneurons.beyond.features.published import load_published
    from langneurons.beyond.features.quality import quality
    from langneurons.beyond.features.training import Recipe, train

    spec, lm = workshop.config.features[name], workshop.lm
    layers = chosen_layers(spec.layers, lm.layers)
    if spec.path is not None:
        coders = load_published(
            spec.path, layers, spec.site, width=lm.sites[spec.site].width, model=lm.name
        )
    else:
        recipe = Recipe(
            spec.kind, spec.features, spec.k, spec.tokens, spec.batch, spec.learning_rate,
            seed=workshop.config.seed,
        )  # fmt: skip
        coders = train(lm, _blocks(workshop), spec.site, layers, recipe, folder=output)
    for layer, coder in coders.items():
        coder.save(output / str(layer))
    held = {lang: workshop.held_out_blocks(lang) for lang in workshop.config.languages}
    table = quality(lm, held, spec.site, coders)
    write_table(output / "quality.parquet", table.assign(features=name, site=spec.site))


def _feature_languages(workshop: Workshop, output: Path, name: str) -> None:
    from langneurons.beyond.features.autoencoder import Autoencoder
    from langneurons.beyond.features.language import (
        feature_perplexity,
        feature_statistics,
        monolinguality,
    )
    from langneurons.identification import identify

    spec, lm = workshop.config.features[name], workshop.lm
    folder = workshop.out / "features" / name
    layers = chosen_layers(spec.layers, lm.layers)
    coders = {layer: Autoencoder.load(folder / str(layer)) for layer in layers}
    stats, means = feature_statistics(lm, _blocks(workshop), spec.site, coders)
    found = identify(stats, method=spec.method, **spec.parameters)
    found.save(output / "features.json")
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
    held = {lang: workshop.held_out_blocks(lang) for lang in workshop.config.languages}
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
        seed=workshop.config.seed,
    )
    write_table(output / "perplexity.parquet", table.assign(features=name, value=spec.value))


def chosen_layers(chosen: list[int] | None, count: int) -> list[int]:
    """The layers looked at: those named, or the first, the middle one and the last but one.

    Raises:
        InputError: If one is named that the model does not have.
    """
    if chosen is None:
        return sorted({0, count // 2, max(count - 2, 0)})
    wrong = [layer for layer in chosen if not 0 <= layer < count]
    if wrong:
        raise InputError(f"no layer {wrong[0]}: the model has layers 0 to {count - 1}.")
    return sorted(set(chosen))


KINDS: dict[str, Callable[..., None]] = {
    "deactivation": _deactivation,
    "crossing": _crossing,
    "polysemanticity": _polysemanticity,
    "subspaces": _subspaces,
    "features": _features,
    "feature_languages": _feature_languages,
}
