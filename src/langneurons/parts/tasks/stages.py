"""The stages that score tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langneurons.interface.context import Context
from langneurons.parts.tasks.spec import TaskSpec
from langneurons.stages.stage import Stage


def stages(tasks: Mapping[str, TaskSpec], context: Context) -> list[Stage]:
    """One stage a task, for the rules that need no model; adapters bring the others."""
    return [
        Stage(
            f"rules/{task}",
            "rules",
            {"task": task},
            tested(context, task),
            (),
            f"rules/{task}.parquet",
            entries=context.task_module(task),
        )
        for task in tasks
    ]


def source(context: Context, task: str) -> dict[str, Any]:
    """What decides a task's examples and the model they are put to."""
    return {"task": context.of.tasks[task], "model": context.of.model, "dtype": context.dtype}


def tested(context: Context, task: str) -> dict[str, Any]:
    """What determines a task's scores, but for the model's adapter and overwrites."""
    spec = context.spec_of("tasks")[task]
    return {
        **source(context, task),
        "limit": spec.limit,
        "split": spec.split,
        "seed": context.seed,
        "protocol": context.protocol,
    }


def score(
    context: Context,
    task: str,
    adapter: str,
    language: str,
    cell: dict[str, Any],
    test: dict[str, Any],
    parents: tuple[str, ...],
) -> Stage:
    """The stage of one cell.

    Args:
        context: The study.
        task: Name of the task.
        adapter: Name of the training.
        language: Language tested.
        cell: What is written over which units: ``value``, ``units`` and, of a set, ``neurons`` and
            ``seed``.
        test: What :func:`tested` returns.
        parents: Stages it reads, its training in front; without one the model is tested as it is.
    """
    trained = any(name.startswith("finetune/") for name in parents)
    label = "-".join(str(part) for part in cell.values() if part != "-")
    return Stage(
        name=f"scores/{task}/{adapter}/{language}/{label}",
        kind="scores",
        arguments={
            "task": task,
            "adapter": adapter,
            "language": language,
            **cell,
            **({} if trained else {"trained": False}),
        },
        settings=test,
        parents=parents,
        output=f"scores/{task}/{adapter}/{language}/{label}.parquet",
        scratch=(f"scores/{task}/{adapter}/{language}/{label}.parquet.parts",),
        entries=context.task_module(task),
        cost=(test["limit"] or 1000) * context.spec_of("tasks")[task].tokens / 1000,
    )
