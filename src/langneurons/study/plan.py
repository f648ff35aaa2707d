"""A study as a graph of stages, each keyed by everything that determines its result."""

from __future__ import annotations

from dataclasses import replace

from langneurons.artifacts import digest
from langneurons.config.schema import StudyConfig
from langneurons.interface.context import Identity
from langneurons.interface.part import ordered
from langneurons.stages.stage import Plan, Stage, keys, order, own
from langneurons.study import kinds

__all__ = ["Identity", "Plan", "Stage", "plan"]


def plan(config: StudyConfig, identity: Identity) -> Plan:
    """Lay out all stages of a study.

    Args:
        config: The checked study.
        identity: Content identities of model, texts and tasks.

    Returns:
        The plan; equal inputs give equal keys on every machine.
    """
    context = config.context(identity)
    stages = [
        stage
        for part in ordered()
        if part.stages is not None and (spec := context.spec_of(part.word))
        for stage in part.stages(spec, context)
    ]
    everything = tuple(stage.name for stage in stages)
    stages.append(
        Stage(kinds.TABLES, kinds.TABLES, {}, {"name": config.name}, everything, kinds.TABLES,
              summary=True)
    )  # fmt: skip
    return _keyed(stages)


def _keyed(stages: list[Stage]) -> Plan:
    by_name = {stage.name: stage for stage in stages}
    plain: dict[str, str] = {}
    for name in order(stages):
        stage = by_name[name]
        plain[name] = digest(*own(stage), [plain[parent] for parent in stage.parents])
    code = {stage.name: kinds.reached(stage) for stage in stages}
    laid = Plan(tuple(by_name[name] for name in order(stages)), {}, plain, code)
    return replace(laid, keys=keys(laid))
