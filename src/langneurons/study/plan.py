"""A study as a graph of stages, each keyed by everything that determines its result."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langneurons.artifacts import digest
from langneurons.study.schema import StudyConfig

# Raise a kind's number when its code changes what it writes: its results, and all that depend on
# them, are then made again.
VERSIONS = {
    "statistics": 1,
    "shard": 1,
    "merge": 1,
    "neurons": 1,
    "overlap": 2,
    "derived": 2,
    "perplexity": 2,
    "effects": 1,
    "sweep": 2,
    "forcing": 1,
    "fallback": 1,
    "passages": 1,
    "finetune": 1,
    "scores": 2,
    "rules": 1,
    "deactivation": 1,
    "crossing": 1,
    "polysemanticity": 1,
    "subspaces": 1,
    "features": 1,
    "feature_languages": 1,
    "tables": 7,
}


@dataclass(frozen=True)
class Stage:
    """One step with its own result on disk.

    Attributes:
        name: Unique name, such as ``statistics/hi``.
        kind: Which function runs it; a key of :data:`VERSIONS`.
        arguments: The function's arguments, plain JSON values.
        settings: Everything else that determines the result (parts of the study, identities of
            model, text and task data).
        parents: Names of stages whose results it reads.
        output: Pattern (glob) of its files and folders inside the run directory.
        cost: Rough amount of work, in thousands of tokens passed forward; for the time left.
    """

    name: str
    kind: str
    arguments: dict[str, Any]
    settings: dict[str, Any]
    parents: tuple[str, ...]
    output: str
    cost: float = 1.0


@dataclass(frozen=True)
class Plan:
    """Stages in an order in which each comes after its parents, with their keys."""

    stages: tuple[Stage, ...]
    keys: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


@dataclass(frozen=True)
class Identity:
    """What the outside world contributes to a study's keys.

    Attributes:
        model: Content identity of the model.
        texts: Language to content identity of its documents for statistics.
        held_out: Language to content identity of its held-out documents.
        tasks: Task name to content identity of its examples' source.
    """

    model: str
    texts: Mapping[str, str]
    held_out: Mapping[str, str]
    tasks: Mapping[str, str]


def plan(config: StudyConfig, identity: Identity) -> Plan:
    """Lay out all stages of a study.

    Args:
        config: The checked study.
        identity: Content identities of model, texts and tasks.

    Returns:
        The plan; equal inputs give equal keys on every machine.
    """
    # Their stages are built from this module.
    from langneurons.study import forcing, passages, sweeps
    from langneurons.study.beyond.plan import beyond
    from langneurons.study.task_plan import task_stages

    stages = _statistics(config, identity) + _neurons(config)
    stages += _effects(config, identity) + _derived(config)
    names = tuple(f"neurons/{name}" for name in config.found)
    if names:
        stages.append(Stage("overlap", "overlap", {}, {}, names, "overlap.parquet"))
    stages += _perplexity(config, identity)
    stages += forcing.stages(config, identity) + task_stages(config, identity)
    stages += sweeps.stages(config, identity)
    stages += beyond(config, identity) + passages.stages(config)
    everything = tuple(stage.name for stage in stages)
    stages.append(Stage("tables", "tables", {}, {"name": config.name}, everything, "tables"))
    return _ordered(stages)


def _ordered(stages: list[Stage]) -> Plan:
    by_name = {stage.name: stage for stage in stages}
    graph = {stage.name: stage.parents for stage in stages}
    keys: dict[str, str] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        stage = by_name[name]
        keys[name] = digest(
            stage.kind,
            VERSIONS[stage.kind],
            stage.arguments,
            stage.settings,
            [keys[parent] for parent in stage.parents],
        )
    return Plan(tuple(by_name.values()), keys)


def _statistics(config: StudyConfig, identity: Identity) -> list[Stage]:
    sites = dict.fromkeys([config.statistics.site, *map(config.site, config.neurons)])
    if config.crossing:
        sites["mlp.pre"] = None
    sites |= dict.fromkeys(config.elsewhere)
    sites |= dict.fromkeys(spec.site for spec in config.subspaces.values())
    return [stage for site in sites for stage in _site_statistics(config, identity, site)]


def _site_statistics(config: StudyConfig, identity: Identity, site: str) -> list[Stage]:
    spec = config.statistics.model_copy(update={"site": site})
    other = site if site != config.statistics.site else None
    stages = []
    for lang in config.languages:
        name = statistics_name(config, site, lang)
        whole = Stage(
            name=name,
            kind="statistics",
            arguments={"language": lang, **({"site": other} if other else {})},
            settings={
                "statistics": spec.model_dump(),
                "protocol": config.protocol,
                "model": identity.model,
                "dtype": config.dtype,
                "text": identity.texts[lang],
                "seed": config.seed,
            },
            parents=(),
            output=f"{name}.*",
            cost=spec.tokens / 1000,
        )
        stages += [whole] if spec.shards == 1 else _shards(whole, shard_folder(other, lang))
    return stages


def _shards(whole: Stage, folder: str) -> list[Stage]:
    """A statistics stage in parts, and the stage that merges them under its name."""
    count = whole.settings["statistics"]["shards"]
    parts = [
        replace(
            whole,
            name=f"{folder}/{part}",
            kind="shard",
            arguments={**whole.arguments, "part": part},
            output=f"{folder}/{part}",
            cost=whole.cost / count,
        )
        for part in range(count)
    ]
    names = tuple(part.name for part in parts)
    return [*parts, replace(whole, kind="merge", settings={}, parents=names, cost=1.0)]


def _neurons(config: StudyConfig) -> list[Stage]:
    return [
        Stage(
            name=f"neurons/{name}",
            kind="neurons",
            arguments={"neurons": name},
            settings=spec.model_dump(include={"method", "languages", "parameters"}),
            parents=statistics_of(config, config.site(name)),
            output=f"neurons/{name}.json",
        )
        for name, spec in config.neurons.items()
        if spec.derive is None
    ]


def _derived(config: StudyConfig) -> list[Stage]:
    stages = []
    for name, spec in config.neurons.items():
        if spec.derive is None:
            continue
        parents = [f"neurons/{spec.derive}"]
        if spec.without_top:
            parents += [f"effects/{spec.derive}/{lang}" for lang in rows_of(config, spec.derive)]
        stages.append(
            Stage(
                name=f"neurons/{name}",
                kind="derived",
                arguments={"neurons": name},
                settings=spec.model_dump(include={"derive", "exclusive", "without_top"}),
                parents=tuple(parents),
                output=f"neurons/{name}.json",
            )
        )
    return stages


def statistics_name(config: StudyConfig, site: str, language: str) -> str:
    """The study's own site lies in ``statistics/``, others in a folder of their own in it."""
    folder = "" if site == config.statistics.site else f"{site}/"
    return f"statistics/{folder}{language}"


def shard_folder(site: str | None, language: str) -> str:
    """Where the parts of a language lie in a run directory; ``site`` None for the study's own."""
    return f"shards/{language}" if site is None else f"shards/{site}/{language}"


def statistics_of(config: StudyConfig, site: str) -> tuple[str, ...]:
    """Names of the statistics stages of all languages at a site."""
    return tuple(statistics_name(config, site, lang) for lang in config.languages)


def of_set(config: StudyConfig, neurons: str) -> tuple[str, ...]:
    """A neuron set and the statistics at its site, which values and matched controls need."""
    return (f"neurons/{neurons}", *statistics_of(config, config.site(neurons)))


def rows_of(config: StudyConfig, neurons: str) -> list[str]:
    """Languages of a neuron set."""
    spec = config.neurons[neurons]
    if spec.derive is not None:
        return rows_of(config, spec.derive)
    if spec.languages is None:
        return config.languages
    from langneurons.identification.language_sets import resolve_languages

    return list(resolve_languages(spec.languages, config.languages))


def held_out(config: StudyConfig, identity: Identity, languages: list[str]) -> dict[str, Any]:
    """What decides the held-out blocks of some languages."""
    assert config.perplexity is not None
    return {
        "tokens": config.perplexity.tokens,
        "block": config.perplexity.block or config.statistics.block,
        "text": {lang: identity.held_out[lang] for lang in languages},
        "seed": config.seed,
    }


def _effects(config: StudyConfig, identity: Identity) -> list[Stage]:
    spec = config.effects
    if spec is None or config.perplexity is None:
        return []
    return [
        Stage(
            name=f"effects/{neurons}/{lang}",
            kind="effects",
            arguments={"neurons": neurons, "language": lang},
            settings={
                **spec.model_dump(exclude={"neurons"}),
                "value": config.perplexity.value,
                **held_out(config, identity, [lang]),
            },
            parents=of_set(config, neurons),
            output=f"effects/{neurons}/{lang}.parquet",
            # About a hundred units, each on a few blocks.
            cost=1.5 * (100 * spec.screen * config.statistics.block / 1000
                        + spec.keep * config.perplexity.tokens / 1000),
        )
        for neurons in spec.neurons
        for lang in rows_of(config, neurons)
    ]  # fmt: skip


def _perplexity(config: StudyConfig, identity: Identity) -> list[Stage]:
    spec = config.perplexity
    if spec is None:
        return []
    columns = spec.languages or config.languages
    stages = []
    for neurons in spec.neurons:
        for row in rows_of(config, neurons):
            # Controls are measured on the row's own language alone.
            passes = len(columns) + spec.random + spec.matched
            stages.append(
                Stage(
                    name=f"perplexity/{neurons}/{row}",
                    kind="perplexity",
                    arguments={"neurons": neurons, "language": row},
                    settings={
                        **spec.model_dump(exclude={"neurons", "block"}),
                        **held_out(config, identity, columns),
                    },
                    parents=of_set(config, neurons),
                    output=f"perplexity/{neurons}/{row}.parquet",
                    cost=1.5 * passes * spec.tokens / 1000,
                )
            )
    return stages
