"""A study as a graph of stages, each keyed by everything that determines its result."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from langneurons.artifacts import digest
from langneurons.study.parts import NeuronsSpec
from langneurons.study.schema import StudyConfig


@dataclass(frozen=True)
class Stage:
    """One step with its own result on disk.

    Attributes:
        name: Unique name, such as ``statistics/hi``.
        kind: Which function runs it; a key of :func:`langneurons.study.stages.kinds`.
        arguments: The function's arguments, plain JSON values.
        settings: Everything else that determines the result (parts of the study, identities of
            model, text and task data).
        parents: Names of stages whose results it reads.
        output: Its file or folder inside the run directory.
        cost: Rough amount of work, in thousands of tokens passed forward; for the time left.
        beside: Further files and folders that it writes.
        scratch: What it keeps while it works, to resume from; patterns (glob).
        entries: Modules of methods and tasks that it uses, of those that register themselves.
        summary: Whether it sums up what there is: it runs although parents have failed, and its
            last result stands until it has made a new one.
    """

    name: str
    kind: str
    arguments: dict[str, Any]
    settings: dict[str, Any]
    parents: tuple[str, ...]
    output: str
    cost: float = 1.0
    beside: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    summary: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """All files and folders of its result."""
        return (self.output, *self.beside)


@dataclass(frozen=True)
class Plan:
    """Stages in an order in which each comes after its parents, with their keys.

    Attributes:
        stages: The stages.
        keys: Stage to the digest of everything that determines its result, its code included.
        plain: Stage to the same digest without any code.
        code: Stage to the digests of the modules that its kind reaches.
    """

    stages: tuple[Stage, ...]
    keys: dict[str, str] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    code: dict[str, dict[str, str]] = field(default_factory=dict)

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
    stages.append(Stage("tables", "tables", {}, {"name": config.name}, everything, "tables",
                        summary=True))  # fmt: skip
    return _ordered(stages)


def _ordered(stages: list[Stage]) -> Plan:
    from langneurons.study.stages import reached

    by_name = {stage.name: stage for stage in stages}
    plain: dict[str, str] = {}
    code = {stage.name: reached(stage) for stage in stages}
    for name in order(stages):
        stage = by_name[name]
        plain[name] = digest(*_own(stage), [plain[parent] for parent in stage.parents])
    laid = Plan(tuple(stages), {}, plain, code)
    return replace(laid, keys=keys(laid))


def order(stages: Iterable[Stage]) -> list[str]:
    """Names of stages, each after its parents."""
    graph = {stage.name: stage.parents for stage in stages}
    return list(graphlib.TopologicalSorter(graph).static_order())


def keys(laid: Plan, accepted: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The key of every stage.

    Args:
        laid: The plan.
        accepted: Stage to the key of a result that stands whatever code made it; the keys of
            stages that read it follow from that key.
    """
    by_name = {stage.name: stage for stage in laid.stages}
    found: dict[str, str] = {}
    for name in order(laid.stages):
        stage = by_name[name]
        parents = [found[parent] for parent in stage.parents]
        own = (*_own(stage), sorted(laid.code[name].items()), parents)
        found[name] = accepted.get(name) or digest(*own)
    return found


def _own(stage: Stage) -> tuple[Any, ...]:
    return stage.kind, stage.arguments, stage.settings


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
            output=f"{name}.safetensors",
            beside=(f"{name}.rows",),
            scratch=_scratch(name),
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
            beside=(),
            scratch=(),
            cost=whole.cost / count,
        )
        for part in range(count)
    ]
    names = tuple(part.name for part in parts)
    return [*parts, replace(whole, kind="merge", settings={}, parents=names, cost=1.0)]


def _scratch(name: str) -> tuple[str, ...]:
    """Where collecting keeps its state: one folder a process."""
    folder, _, lang = name.rpartition("/")
    return tuple(f"{folder}/.{lang}.{ranks}.partial" for ranks in ("[0-9]", "[0-9][0-9]"))


def method_module(spec: NeuronsSpec) -> tuple[str, ...]:
    """Module of the method that finds a set; of a derived set none."""
    from langneurons.identification import METHODS

    return () if spec.derive else (METHODS.get(spec.method).function.__module__,)


def task_module(config: StudyConfig, task: str) -> tuple[str, ...]:
    """Module of a task's class."""
    from langneurons.data.tasks.base import TASKS

    source = config.tasks[task].source or task
    return (TASKS.get(source.partition(":")[0]).__module__,)


def _neurons(config: StudyConfig) -> list[Stage]:
    return [
        Stage(
            name=f"neurons/{name}",
            kind="neurons",
            arguments={"neurons": name},
            settings=spec.model_dump(include={"method", "languages", "parameters"}),
            parents=statistics_of(config, config.site(name)),
            output=f"neurons/{name}.json",
            entries=method_module(spec),
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
