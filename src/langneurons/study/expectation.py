"""What a study will take, by arithmetic: forward tokens, time, memory and disk.

Rules of thumb, each stated where it is used: a forward pass costs 2 floating-point operations for
each token and weight it is multiplied with, one training step of an adapter the work of three
forward passes (:class:`~langneurons.study.plan.Stage.cost` already says so). Nothing here loads a
model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from langneurons.config.inputs import model_path
from langneurons.config.schema import StudyConfig
from langneurons.interface.part import Takes, ordered
from langneurons.models.size import Size, of_model
from langneurons.stages.stage import Plan, Stage
from langneurons.study.kinds import kinds

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

UTILISATION = 0.4
"""Share of a bare matrix product's rate that a whole forward pass reaches, padding included."""

_BATCH_TOKENS = 8192  # tokens in a batch without gradients, at most


@dataclass(frozen=True)
class Expectation:
    """What the stages that are still to do will take.

    Attributes:
        tokens: Tokens passed forward, training counted as three passes.
        seconds: Stage to expected seconds; a kind's measured rate where the run directory has one.
        memory: Peak bytes, model included; None where the model's size is not known.
        disk: Bytes the whole run directory will take; None likewise.
        source: Where the times come from, in a few words.
    """

    tokens: float
    seconds: Mapping[str, float]
    memory: float | None
    disk: float | None
    source: str


def size_of(config: StudyConfig) -> Size | None:
    """Size of a study's model, from the study itself or the model's own files; None if unknown.

    Nothing is fetched: of a model of the Hub the configuration is read only where it lies in the
    cache.
    """
    if config.size is not None:
        return Size(**config.size.model_dump())
    return of_model(config.model, model_path(config.model))


@cache
def measured_flops(dtype: str) -> float:
    """Floating-point operations a second of a matrix product here, in about a third of a second.

    Measured once a process: all studies of a series are reckoned by the same rate.
    """
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator if accelerator is not None else torch.device("cpu")
    kind = getattr(torch, dtype if dtype in _BYTES else "float32")
    rows, width = (4096, 8192) if device.type != "cpu" else (256, 1024)
    a = torch.ones(rows, width, dtype=kind, device=device)
    b = torch.ones(width, width, dtype=kind, device=device)
    count = 0
    for limit in (0.05, 0.3):  # the first round warms up
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < limit:
            product = a @ b
            count += 1
        float(product[0, 0])  # waits for an accelerator
        seconds = time.perf_counter() - start
    return 2 * rows * width * width * count / seconds


def expect(
    config: StudyConfig,
    laid: Plan,
    todo: Iterable[Stage],
    *,
    flops: float | None = None,
    records: Iterable[Mapping[str, Any]] = (),
) -> Expectation:
    """Add up what a plan will take.

    Args:
        config: The study.
        laid: Its plan.
        todo: Stages that are still to run.
        flops: Rate of the device in operations a second; see :func:`measured_flops`.
        records: Records of finished stages, whose own times take precedence by kind.

    Returns:
        The expectation; times are 0 for stages of which nothing is known.
    """
    size = size_of(config)
    rates = _rates(laid, records)
    known = kinds()
    takes = [] if size is None else _takes(config, laid, size)
    seconds: dict[str, float] = {}
    stages = list(todo)
    for stage in stages:
        if stage.kind in rates:
            seconds[stage.name] = stage.cost * rates[stage.kind]
        elif size is not None and flops:
            work = stage.cost * 1000 * size.operations(known[stage.kind].predicts)
            seconds[stage.name] = work / (flops * UTILISATION)
    reckoned = f"{flops * UTILISATION / 1e9:,.0f} GFLOP/s" if flops and size else ""
    source = "; ".join(
        part for part in (f"measured for {', '.join(sorted(rates))}" if rates else "", reckoned)
        if part
    )  # fmt: skip
    return Expectation(
        tokens=1000 * sum(stage.cost for stage in stages),
        seconds=seconds,
        memory=None
        if size is None
        else memory(config, size, max((item.memory for item in takes), default=0.0)),
        disk=None if size is None else sum(item.disk for item in takes),
        source=source,
    )


def operations(config: StudyConfig, todo: Iterable[Stage]) -> float | None:
    """Floating-point operations of stages; None where the model's size is not known."""
    size, known = size_of(config), kinds()
    if size is None:
        return None
    return sum(1000 * item.cost * size.operations(known[item.kind].predicts) for item in todo)


def process_memory(config: StudyConfig, laid: Plan) -> float | None:
    """Peak bytes of a process that does stages; None where the model's size is not known."""
    size = size_of(config)
    if size is None:
        return None
    takes = _takes(config, laid, size)
    return memory(config, size, max((item.memory for item in takes), default=0.0))


def _rates(laid: Plan, records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of the machine a thousand tokens of each kind of stage that has been run take."""
    costs = {stage.name: (stage.kind, stage.cost) for stage in laid.stages}
    spent: dict[str, float] = {}
    work: dict[str, float] = {}
    for record in records:
        if record["stage"] in costs and record["seconds"] > 0:
            kind, cost = costs[record["stage"]]
            seconds = float(record["seconds"]) / record.get("beside", 1)
            spent[kind] = spent.get(kind, 0.0) + seconds
            work[kind] = work.get(kind, 0.0) + cost
    return {kind: spent[kind] / work[kind] for kind in spent}


def memory(config: StudyConfig, size: Size, parts: float) -> float:
    """Peak bytes of one process: the model, and the larger of a forward pass and a part's own."""
    itemsize = _BYTES.get(config.dtype, 4 if config.model.endswith(".gguf") else 2)
    model = size.parameters * itemsize
    # One layer's inner activations, the residual stream, and the accumulators of statistics.
    forward: float = (
        _BATCH_TOKENS * (2 * max(size.units, size.chosen * size.inner) + 4 * size.hidden) * itemsize
    )
    forward += 3 * _state(config, size)
    return model + max(forward, parts)


def _state(config: StudyConfig, size: Size) -> float:
    """Bytes of the accumulators of one language's statistics."""
    from langneurons.statistics.moments import BYTES_PER_UNIT

    units, _ = size.at(config.context().spec_of("statistics").site)
    return float(BYTES_PER_UNIT * size.layers * units)


def _takes(config: StudyConfig, laid: Plan, size: Size) -> list[Takes]:
    context = config.context()
    return [
        part.takes(spec, context, size, laid.stages)
        for part in ordered()
        if part.takes is not None and (spec := context.spec_of(part.word))
    ]
