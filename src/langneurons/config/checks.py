"""What can be known to be wrong with a study before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from langneurons.config import inputs
from langneurons.config.schema import StudyConfig
from langneurons.errors import InputError, LangNeuronsError
from langneurons.interface.part import ordered

if TYPE_CHECKING:
    from langneurons.data.tasks import Task


def check(config: StudyConfig) -> None:
    """Refuse unknown words and what does not fit together.

    Raises:
        InputError: An unknown device, or what a part cannot do.
    """
    _device(config)
    context = config.context()
    for part in ordered():
        spec = context.spec_of(part.word)
        if part.verify is not None and spec:
            part.verify(spec, context)


def _device(config: StudyConfig) -> None:
    import torch

    if config.device not in ("auto", "balanced"):
        try:
            torch.device(config.device)
        except RuntimeError as error:
            raise InputError(
                f"device: no device is called {config.device!r}: use auto, balanced, cpu, cuda or "
                "cuda:0."
            ) from error


def check_model(config: StudyConfig, trusted: bool = False) -> None:
    """Refuse a model that cannot be one, and blocks that are longer than its positions.

    Args:
        config: The study.
        trusted: Whether code from the model's repository may run.

    Raises:
        InputError: As far as can be seen without weights or network.
    """
    from langneurons.models import loading

    loading.check_way(config.load)
    positions = loading.check(config.model, revision=config.revision, trust_remote_code=trusted)
    blocks = {"statistics.block": config.statistics.block}
    if config.perplexity and config.perplexity.block:
        blocks["perplexity.block"] = config.perplexity.block
    for key, block in blocks.items():
        if positions is not None and block > positions:
            raise InputError(
                f"{key}: {block} tokens, but the model has {positions} positions: lower it."
            )


def check_examples(config: StudyConfig, tasks: Mapping[str, Task]) -> None:
    """Refuse splits and languages of which there is no data, where the data lie here.

    Args:
        config: The study.
        tasks: Its tasks by name; what is read stays in them.

    Raises:
        InputError: If examples that a part asks for are not there.
    """
    context = config.context()
    for part in ordered():
        spec = context.spec_of(part.word)
        if part.examples is None or not spec:
            continue
        for name, lang, split in part.examples(spec, context):
            if inputs.task_repository(config.tasks[name].source or name) is not None:
                continue
            try:
                tasks[name].examples(lang, split)
            except LangNeuronsError as error:
                raise InputError(f"tasks.{name}: {error}") from error


def check_place(out: Path) -> None:
    """Refuse an output folder that cannot be one.

    Raises:
        InputError: If a file is in the way.
    """
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise InputError(f"-o {str(out)!r}: {str(place)!r} is a file: give a folder.")
            return


def check_machine(config: StudyConfig) -> None:
    """Refuse a device that is not in this machine.

    Raises:
        InputError: If there is none of that name.
    """
    import torch

    if config.device in ("auto", "balanced"):
        return
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device: there is no {config.device!r} here: use auto or cpu, or another machine."
        ) from error
