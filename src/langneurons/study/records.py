"""What a run directory remembers of each stage: its key, and the checksums of its files."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langneurons.artifacts import file_digest, read_json, write_json
from langneurons.errors import LangNeuronsError
from langneurons.study.plan import VERSIONS, Plan, Stage

_FOLDER = ".stages"


def _path(out: Path, stage: Stage, suffix: str = "") -> Path:
    return out / _FOLDER / f"{stage.name.replace('/', '~')}{suffix}.json"


def begin(out: Path, plan: Plan, stage: Stage) -> None:
    """Clear the way for a stage: what an interrupted run with the same key left is kept.

    A stage that can resume finds its own checkpoints; results of another key, and damaged ones,
    are removed first, so that nothing stale is ever mixed in.
    """
    begun = _path(out, stage, ".begun")
    key = plan.keys[stage.name]
    resumable = read(out, stage) is None and _key(begun) == key
    if not resumable:
        for target in targets(out, stage):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        _path(out, stage).unlink(missing_ok=True)
        write_json(begun, {"key": key})


def clear_parts(out: Path) -> None:
    """Remove the temporary files that a killed run was writing; nobody else writes here now."""
    for path in [*out.rglob(".*.part"), *out.rglob(".part-*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _key(path: Path) -> str | None:
    with contextlib.suppress(LangNeuronsError):
        return str(read_json(path)["key"])
    return None


def save(out: Path, plan: Plan, stage: Stage, seconds: float, without: Sequence[str] = ()) -> None:
    """Record a finished stage with the checksum of every file it wrote.

    Args:
        out: Run directory.
        plan: Holds the keys.
        stage: The stage.
        seconds: Time it took.
        without: Parents that failed: the result holds what there was and is made again next time.
    """
    write_json(
        _path(out, stage),
        {
            "stage": stage.name,
            "key": plan.keys[stage.name],
            "version": VERSIONS[stage.kind],
            "arguments": stage.arguments,
            "settings": stage.settings,
            "parents": {parent: plan.keys[parent] for parent in stage.parents},
            "files": {str(path.relative_to(out)): file_digest(path) for path in files(out, stage)},
            "without": list(without),
            "seconds": round(seconds, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    _path(out, stage, ".begun").unlink(missing_ok=True)


def targets(out: Path, stage: Stage) -> list[Path]:
    """Files and folders that match a stage's output pattern, sorted."""
    return sorted(out.glob(stage.output))


def files(out: Path, stage: Stage) -> list[Path]:
    """Files a stage has written, sorted; empty if it has written none."""
    found: list[Path] = []
    for target in targets(out, stage):
        inside = sorted(target.rglob("*")) if target.is_dir() else [target]
        found += [path for path in inside if path.is_file()]
    return found


def read(out: Path, stage: Stage) -> dict[str, Any] | None:
    """The record of a stage, or None where there is none or it is damaged."""
    path = _path(out, stage)
    if not path.is_file():
        return None
    try:
        return read_json(path)
    except LangNeuronsError:
        return None


def why(out: Path, plan: Plan, stage: Stage) -> str | None:
    """Why a stage has to run, in a few words; None if its result stands.

    Every file's checksum is compared, so that a damaged or truncated file is found and named.
    """
    record = read(out, stage)
    if record is None:
        return "never run"
    if record["key"] != plan.keys[stage.name]:
        return _difference(record, plan, stage)
    if record.get("without"):
        return f"made without {record['without'][0]}, which had failed"
    for name, checksum in record["files"].items():
        path = out / name
        if not path.is_file():
            return f"{name} is missing"
        if file_digest(path) != checksum:
            return f"{name} is damaged (checksum differs)"
    return None


def _difference(record: dict[str, Any], plan: Plan, stage: Stage) -> str:
    if record["version"] != VERSIONS[stage.kind]:
        return f"the code of stage {stage.kind!r} has changed"
    for part in ("settings", "arguments"):
        old, new = record[part], getattr(stage, part)
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        if changed:
            return f"changed: {', '.join(changed)}"
    parents = [name for name in stage.parents if record["parents"].get(name) != plan.keys.get(name)]
    return f"depends on {parents[0]}, which changed" if parents else "its inputs changed"
