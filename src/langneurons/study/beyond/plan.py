"""The stages of what goes beyond neurons."""

from __future__ import annotations

import glob
from pathlib import Path

from langneurons.artifacts import file_digest
from langneurons.errors import InputError, LangNeuronsError
from langneurons.study.plan import Identity, Stage, held_out, of_set, statistics_of, task_module
from langneurons.study.schema import StudyConfig


def beyond(config: StudyConfig, identity: Identity) -> list[Stage]:
    """All stages of the parts a study has."""
    return [
        *_deactivation(config, identity),
        *_crossing(config, identity),
        *_polysemanticity(config, identity),
        *_subspaces(config, identity),
        *_features(config, identity),
    ]


def _deactivation(config: StudyConfig, identity: Identity) -> list[Stage]:
    spec = config.deactivation
    if spec is None or config.perplexity is None:
        return []
    draws = 1 + spec.random + spec.matched
    tokens = config.perplexity.tokens + 2 * spec.residual_blocks * config.statistics.block
    return [
        Stage(
            name=f"deactivation/{spec.neurons}/{lang}",
            kind="deactivation",
            arguments={"language": lang},
            settings={
                **spec.model_dump(exclude={"languages"}),
                **held_out(config, identity, [lang]),
            },
            parents=of_set(config, spec.neurons),
            output=f"deactivation/{spec.neurons}/{lang}",
            cost=1.5 * draws * len(spec.values) * tokens / 1000,
        )
        for lang in spec.languages
    ]


def _crossing(config: StudyConfig, identity: Identity) -> list[Stage]:
    spec = config.crossing
    if spec is None or config.perplexity is None:
        return []
    readings = 5 if spec.per_batch else 4
    cells = readings * (1 + spec.random + spec.matched) * len(spec.values)
    return [
        Stage(
            name=f"crossing/{neurons}/{lang}",
            kind="crossing",
            arguments={"neurons": neurons, "language": lang},
            settings={
                **spec.model_dump(exclude={"languages", "neurons"}),
                **held_out(config, identity, [lang]),
            },
            parents=(*of_set(config, neurons), *statistics_of(config, "mlp.pre")),
            output=f"crossing/{neurons}/{lang}.parquet",
            cost=1.5 * cells * config.perplexity.tokens / 1000,
        )
        for neurons in spec.neurons
        for lang in spec.languages
    ]


def _polysemanticity(config: StudyConfig, identity: Identity) -> list[Stage]:
    spec = config.polysemanticity
    if spec is None:
        return []
    passes = spec.examples + 3 * spec.tested * (2 * spec.harm_units + 1)
    return [
        Stage(
            name=f"polysemanticity/{spec.neurons}/{lang}",
            kind="polysemanticity",
            arguments={"language": lang},
            settings={
                **spec.model_dump(exclude={"languages"}),
                "source": identity.tasks[spec.task],
                "seed": config.seed,
            },
            parents=of_set(config, spec.neurons),
            output=f"polysemanticity/{spec.neurons}/{lang}",
            entries=task_module(config, spec.task),
            cost=0.1 * passes,
        )
        for lang in spec.languages
    ]


def _subspaces(config: StudyConfig, identity: Identity) -> list[Stage]:
    if config.perplexity is None:
        return []
    stages = []
    for name, spec in config.subspaces.items():
        languages = spec.languages or config.languages
        parents = statistics_of(config, spec.site)
        if spec.neurons:
            parents = (f"neurons/{spec.neurons}", *parents)
        layers = len(spec.layers or (0, 1, 2)) + 1
        plans = layers * (len(spec.kinds) + spec.random * (2 if spec.neurons else 1) + 1)
        tokens = len(languages) * (config.perplexity.tokens + 3000)
        stages.append(
            Stage(
                name=f"subspaces/{name}",
                kind="subspaces",
                arguments={"name": name},
                settings={
                    **spec.model_dump(),
                    **held_out(config, identity, languages),
                    "source": identity.tasks[spec.task] if spec.task else None,
                    "split": config.tasks[spec.task].split if spec.task else None,
                },
                parents=parents,
                output=f"subspaces/{name}",
                entries=task_module(config, spec.task) if spec.task else (),
                cost=1.5 * plans * tokens / 1000,
            )
        )
    return stages


def _features(config: StudyConfig, identity: Identity) -> list[Stage]:
    from langneurons.identification import METHODS

    if config.perplexity is None:
        return []
    stages = []
    found = {"method", "parameters", "value", "random", "matched"}
    held = held_out(config, identity, config.languages)
    for name, spec in config.features.items():
        layers = len(spec.layers or (0, 1, 2))
        size = len(config.languages) * config.perplexity.tokens / 1000
        stages.append(
            Stage(
                name=f"features/{name}",
                kind="features",
                arguments={"name": name},
                settings={
                    **spec.model_dump(exclude=found),
                    "model": identity.model,
                    "dtype": config.dtype,
                    "text": identity.texts,
                    "statistics": config.statistics.tokens,
                    "block": config.statistics.block,
                    "seed": config.seed,
                    "held_out": held,
                    "published": _published(spec.path),
                },
                parents=(),
                output=f"features/{name}",
                cost=(0 if spec.path else 3 * spec.tokens / 1000) + 3 * layers * size,
            )
        )
        draws = len(config.languages) + spec.random + spec.matched
        stages.append(
            Stage(
                name=f"feature_languages/{name}",
                kind="feature_languages",
                arguments={"name": name},
                settings={**spec.model_dump(include=found), "held_out": held},
                parents=(f"features/{name}",),
                output=f"feature_languages/{name}",
                entries=(METHODS.get(spec.method).function.__module__,),
                cost=1.5 * draws * size,
            )
        )
    return stages


def check_published_features(config: StudyConfig) -> None:
    """Hold published autoencoders against the model, as far as both are at hand.

    Raises:
        InputError: See :func:`langneurons.beyond.features.published.check_published`.
    """
    from langneurons.beyond.features.published import check_published
    from langneurons.models.loading import configuration
    from langneurons.study.beyond.stages import chosen_layers

    for name, spec in config.features.items():
        if spec.path is None:
            continue
        known = configuration(config.model, revision=config.revision)
        if known is None and spec.layers is None:
            continue
        layers = spec.layers or chosen_layers(None, int(known.num_hidden_layers))
        width = int(known.hidden_size) if known is not None and spec.site == "resid" else None
        try:
            check_published(spec.path, layers, spec.site, width=width, model=config.model)
        except LangNeuronsError as error:
            raise InputError(f"features.{name}: {error}") from error


def _published(path: str | None) -> list[list[str]]:
    """Content of the files of published autoencoders, so that changed ones are read again."""
    if path is None:
        return []
    files = sorted(glob.glob(path.replace("{layer}", "*") + "/*"))
    return [[file, file_digest(file)] for file in files if Path(file).is_file()]
