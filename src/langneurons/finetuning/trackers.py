"""Reporting of a run to TensorBoard, Weights & Biases, trackio and the rest, by Accelerate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, filter_trackers

from langneurons.errors import InputError, unknown


class Trackers:
    """Where the numbers of a run go."""

    def __init__(self, trackers: Sequence[GeneralTracker]) -> None:
        self._trackers = trackers

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Report values of one step."""
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)


@contextlib.contextmanager
def tracking(
    names: str | Sequence[str], folder: Path, settings: Mapping[str, Any]
) -> Iterator[Trackers]:
    """Open the named trackers for a run.

    Args:
        names: Names Accelerate knows ("tensorboard", "wandb", "trackio", ...), none for no report.
        folder: Folder of trackers that write files.
        settings: What is reported of the run at its start.

    Raises:
        InputError: If a tracker is unknown or its package is not installed.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted:
        yield Trackers([])
        return
    for name in wanted:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise unknown("tracker", name, LOGGER_TYPE_TO_CLASS)
    PartialState()  # trackers ask it whether this is the main process
    found = [str(name) for name in filter_trackers(wanted, folder)]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InputError(
            f"report_to={missing[0]!r} needs the package of that name: pip install {missing[0]}."
        )
    opened = []
    for name in found:
        kind = LOGGER_TYPE_TO_CLASS[name]
        arguments = ("langneurons", folder) if kind.requires_logging_directory else ("langneurons",)
        tracker = kind(*arguments)
        tracker.start()
        tracker.store_init_configuration(
            {k: v for k, v in settings.items() if isinstance(v, (int, float, str, bool))}
        )
        opened.append(tracker)
    try:
        yield Trackers(opened)
    finally:
        for tracker in opened:
            tracker.finish()
