"""Progress with rate and time left, on anything over two seconds; silent where nobody looks."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

_state = {"quiet": False}
_listener: list[Callable[[str], None]] = []
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_WORDS = 0.5


class Bar(Protocol):
    """What a running task may say of itself."""

    def advance(self, amount: float = 1.0) -> None:
        """Add ``amount`` units of work done."""

    def skip(self, amount: float) -> None:
        """Count ``amount`` units that were done before and say nothing about the rate."""

    def note(self, text: str) -> None:
        """Replace the short text behind the description."""


def set_quiet(quiet: bool) -> None:
    """Switch all progress output off (or on again)."""
    _state["quiet"] = quiet


def is_quiet() -> bool:
    """Whether :func:`set_quiet` has switched output off."""
    return _state["quiet"]


def tell(listener: Callable[[str], None]) -> None:
    """Show nothing in this process; whoever started it is told now and then, in a few words.

    Args:
        listener: Called with words such as ``training 120/188 steps``, at most twice a second.
    """
    _listener[:] = [listener]


class _Told:
    """For a process without a screen of its own."""

    def __init__(self, description: str, total: float | None, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done, self.last = 0.0, 0.0
        self.advance(0.0)

    def advance(self, amount: float = 1.0) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.last >= _SECONDS_BETWEEN_WORDS:
            self.last = now
            of = f"/{self.total:,.0f}" if self.total else ""
            _listener[0](f"{self.description} {self.done:,.0f}{of} {self.unit}")

    def skip(self, amount: float) -> None:
        self.advance(amount)

    def note(self, text: str) -> None:
        pass


class _Silent:
    def advance(self, amount: float = 1.0) -> None:
        pass

    def skip(self, amount: float) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Lines:
    """For logs: one plain line every half minute."""

    def __init__(self, description: str, total: float | None, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done, self.before, self.text = 0.0, 0.0, ""
        self.start = self.last = time.monotonic()

    def advance(self, amount: float = 1.0) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.last >= _SECONDS_BETWEEN_LINES:
            self.last = now
            self._print(now)

    def skip(self, amount: float) -> None:
        self.done += amount
        self.before += amount

    def note(self, text: str) -> None:
        self.text = text
        self.advance(0.0)

    def _print(self, now: float) -> None:
        rate = (self.done - self.before) / max(now - self.start, 1e-9)
        of = f"/{self.total:,.0f}" if self.total else ""
        left = ""
        if self.total and rate > 0:
            left = f", {human_time(max(self.total - self.done, 0) / rate)} left"
        sys.stderr.write(
            f"{self.description}: {self.done:,.0f}{of} {self.unit}, "
            f"{rate:,.1f} {self.unit}/s{left} {self.text}".rstrip()
            + "\n"
        )
        sys.stderr.flush()


class _Live:
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def skip(self, amount: float) -> None:
        # Rich takes its speed from recent samples only; a new start forgets the jump.
        done = self._progress.tasks[self._progress.task_ids.index(self._task)].completed
        self._progress.reset(self._task, completed=int(done + amount))

    def advance(self, amount: float = 1.0) -> None:
        self._progress.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)


@contextlib.contextmanager
def track(description: str, total: float | None = None, unit: str = "it") -> Iterator[Bar]:
    """Show progress of one task while the block runs.

    On a terminal a bar with rate and time left, elsewhere a line every half minute, and nothing
    after :func:`set_quiet`. Bars may be nested.

    Args:
        description: What is being done, a few words.
        total: Amount of work in ``unit``, or None where unknown.
        unit: Plural name of the unit ("tokens", "examples").

    Yields:
        The bar; call ``advance`` and ``note`` on it.
    """
    if _listener:
        yield _Told(description, total, unit)
        return
    if _state["quiet"]:
        yield _Silent()
        return
    if not sys.stderr.isatty():
        yield _Lines(description, total, unit)
        return
    yield from _live(description, total, unit)


def _live(description: str, total: float | None, unit: str) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="dim")

    shared = _current()
    if shared is not None:
        task = shared.add_task(description, total=total, note="")
        try:
            yield _Live(shared, task)
        finally:
            shared.remove_task(task)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        _stack.append(progress)
        try:
            yield _Live(progress, progress.add_task(description, total=total, note=""))
        finally:
            _stack.remove(progress)


_stack: list[Any] = []


def _current() -> Any:
    return _stack[-1] if _stack else None


def human_bytes(count: float) -> str:
    """A size in the unit people read: ``12.3 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(seconds: float) -> str:
    """A duration in the unit people read: ``5 s``, ``12 min``, ``3.4 h``, ``3 months``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = seconds / 3600
    if hours < 48:
        return f"{hours:.1f} h"
    days = hours / 24
    if days < 60:
        return f"{days:.1f} days"
    return f"{days / 30.4:.0f} months" if days < 730 else f"{days / 365.25:,.0f} years"
