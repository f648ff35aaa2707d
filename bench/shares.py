"""Where a study's time goes: bare passes of the model, what is hooked into them, and the rest.

A thread looks at what the main thread does, so many times a second, and files it under the stage
that runs. *Bare* is within the model, its head and the backward pass; *hooked* is this package's
work within those; *outside* all else, imports included. The share is of samples by the clock: of
work on one thread it is that of processor time, whatever else the machine does.

Usage: python -m bench.shares STUDY OUT [OVERRIDE ...], as in `langneurons run STUDY -o OUT -s ...`
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

import langneurons

EVERY = 0.02
_MODEL = ("transformers/models/", "torch/autograd/graph.py")
_HEAD = ("hidden_log_probs", "_over_slices")
_OWN = str(Path(langneurons.__file__).parent)


def frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of a thread, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def kind_of(frame: FrameType | None) -> tuple[str, str]:
    """The stage that runs, and ``bare``, ``hooked`` or ``outside``."""
    own, kind, stage = False, "outside", "no stage"
    for item in frames(frame):
        code = item.f_code
        head = code.co_name in _HEAD
        if kind == "outside" and (head or any(part in code.co_filename for part in _MODEL)):
            kind = "hooked" if own else "bare"
        own = own or (_OWN in code.co_filename and not head)
        if code.co_name == "run" and code.co_filename.endswith("study/kinds.py"):
            stage = item.f_locals["stage"].kind
        if code.co_name == "run_several" and code.co_filename.endswith("study/kinds.py"):
            stage = item.f_locals["stages"][0].kind
    return stage, kind


def sampled(study: str, out: str, overrides: list[str]) -> Counter[tuple[str, str]]:
    """Samples by stage and kind over a run in this process, whole or until it is interrupted."""
    found: Counter[tuple[str, str]] = Counter()
    main, done = threading.get_ident(), threading.Event()

    def look() -> None:
        while not done.wait(EVERY):
            found[kind_of(sys._current_frames().get(main))] += 1

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        from langneurons.study import Study

        Study.from_yaml(study, overrides).run(out, report=lambda outcome: print(outcome.name))
    except KeyboardInterrupt:
        print("interrupted: shares of what was done")
    finally:
        done.set()
        thread.join()
    return found


def show(found: Counter[tuple[str, str]], seconds: float) -> Table:
    """One row a kind of stage."""
    table = Table(box=None, title=f"{sum(found.values()):,} samples, {seconds:.0f} s of processor")
    for name in ("stage", "share", "bare", "hooked", "outside"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    whole = sum(found.values())
    stages = Counter[str]()
    for (stage, _), count in found.items():
        stages[stage] += count
    rows = [*stages.most_common(), ("all", whole)]
    for stage, count in rows:
        parts = [
            sum(n for (name, what), n in found.items() if what == kind and stage in (name, "all"))
            for kind in ("bare", "hooked", "outside")
        ]
        table.add_row(stage, f"{count / whole:.2f}", *(f"{part / count:.2f}" for part in parts))
    return table


def main() -> None:
    """Run a study and say where its time went."""
    import torch

    torch.set_num_threads(1)
    study, out, *overrides = sys.argv[1:]
    start = time.process_time()
    found = sampled(study, out, overrides)
    Console(width=100).print(show(found, time.process_time() - start))


if __name__ == "__main__":
    main()
