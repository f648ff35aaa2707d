"""Statistics of every language, at every site that a part of the study reads."""

from __future__ import annotations

from dataclasses import replace

from langneurons.interface.context import Context
from langneurons.interface.part import ordered
from langneurons.parts.statistics.spec import StatisticsSpec
from langneurons.stages.stage import Stage


def stages(spec: StatisticsSpec, context: Context) -> list[Stage]:
    """One stage a site and language; with shards one a part, and one that merges them."""
    sites = dict.fromkeys([spec.site])
    for part in ordered():
        wanted = context.spec_of(part.word)
        if part.sites is not None and wanted:
            sites |= dict.fromkeys(part.sites(wanted, context))
    return [stage for site in sites for stage in _of_site(spec, context, site)]


def _of_site(own: StatisticsSpec, context: Context, site: str) -> list[Stage]:
    spec = own.model_copy(update={"site": site})
    other = site if site != own.site else None
    stages = []
    for lang in context.languages:
        name = context.statistics_name(site, lang)
        whole = Stage(
            name=name,
            kind="statistics",
            arguments={"language": lang, **({"site": other} if other else {})},
            settings={
                "statistics": spec.model_dump(),
                "protocol": context.protocol,
                "model": context.of.model,
                "dtype": context.dtype,
                "text": context.of.texts[lang],
                "seed": context.seed,
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


def shard_folder(site: str | None, language: str) -> str:
    """Where the parts of a language lie in a run directory; ``site`` None for the study's own."""
    return f"shards/{language}" if site is None else f"shards/{site}/{language}"
