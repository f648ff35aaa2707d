"""Workers that are processes of this machine, each with its share of the cores.

One process a core waits for nobody: on a machine with other work threads of one process lose most
of their time waiting for whichever of them was put aside.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

from langneurons.progress import tell
from langneurons.stages.runner import Outcome
from langneurons.stages.schedule import Job, Worker, WorkerLostError

_WORDS = 160  # bytes in which a worker says what it is doing

_process: dict[str, Any] = {}
"""What a worker's process holds."""


def _begin(worker: Callable[[], Worker], board: Any) -> None:
    # Ctrl-C reaches every process of the terminal: the one that was started by hand decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _process.update(worker=worker, made=None, board=board)


def _end_with_parent() -> None:
    """Let no worker outlive who started it and write on in a run directory that is free again."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(job: Job, slot: int) -> list[Outcome]:
    board = _process["board"]

    def say(words: str) -> None:
        words = f"{job.names[0]}: {words}"
        board[slot * _WORDS : (slot + 1) * _WORDS] = words.encode()[:_WORDS].ljust(_WORDS, b"\0")

    tell(say)
    if _process["made"] is None:
        _process["made"] = _process["worker"]()
    found: list[Outcome] = _process["made"].run(job)
    return found


class Processes:
    """A pool of worker processes; leaving it ends them.

    Args:
        size: How many.
        worker: Makes the worker of a process, there, with its first job; must be picklable.
    """

    def __init__(self, size: int, worker: Callable[[], Worker]) -> None:
        self.size, self._worker = size, worker
        self._context = multiprocessing.get_context("spawn")
        self._board = self._context.RawArray("c", size * _WORDS)
        self._others = set(multiprocessing.active_children())
        self._pool: ProcessPoolExecutor | None = None
        self._slots = list(range(size))
        self._tickets: dict[Future[list[Outcome]], int] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is None:
            return
        if error is not None:  # a stage may take an hour: what it left is taken up next time
            for child in set(multiprocessing.active_children()) - self._others:
                child.kill()
        self._pool.shutdown(cancel_futures=True)

    def start(self, job: Job, *, apart: bool) -> Any:
        """Begin a job in an idle process."""
        slot = self._slots.pop(0)
        for _ in range(2):
            pool = self._pool = self._pool or ProcessPoolExecutor(
                self.size, self._context, _begin, (self._worker, self._board)
            )
            try:
                ticket = pool.submit(_do, job, slot)
                break
            except BrokenProcessPool:  # a process died since the last job began
                self._pool = None
        self._tickets[ticket] = slot
        return ticket

    def wait(self, tickets: Collection[Any], seconds: float) -> Any | None:
        """One of the jobs that has ended."""
        done, _ = concurrent.futures.wait(
            tickets, seconds, return_when=concurrent.futures.FIRST_COMPLETED
        )
        return next(iter(done), None)

    def outcomes(self, ticket: Any) -> list[Outcome]:
        """What came of a job; the death of one process ends the jobs of all."""
        slot = self._tickets.pop(ticket)
        self._slots.append(slot)
        self._board[slot * _WORDS : (slot + 1) * _WORDS] = bytes(_WORDS)
        try:
            found: list[Outcome] = ticket.result()
        except BrokenProcessPool as error:
            raise WorkerLostError("a process ended suddenly (killed, or out of memory)") from error
        return found

    def words(self) -> str:
        """What each process is doing."""
        rows = [
            self._board[slot * _WORDS : (slot + 1) * _WORDS].rstrip(b"\0").decode(errors="ignore")
            for slot in range(self.size)
        ]
        return "; ".join(row for row in rows if row)
