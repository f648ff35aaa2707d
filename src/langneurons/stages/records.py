"""What a run directory remembers of each stage: its key, its code, and its files' checksums."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from langneurons.artifacts import file_digest, read_json, write_json
from langneurons.errors import LangNeuronsError
from langneurons.stages.stage import Plan, Stage, keys

_FOLDER = ".stages"
_ASIDE = ".aside"


def _path(out: Path, name: str, suffix: str = ".json") -> Path:
    return out / _FOLDER / f"{name.replace('/', '~')}{suffix}"


def log_path(out: Path, stage: Stage) -> Path:
    """File with the traceback of a stage that failed."""
    return _path(out, stage.name, ".log")


def begin(out: Path, plan: Plan, stage: Stage) -> None:
    """Clear the way for a stage: what an interrupted run with the same key left is kept.

    A stage that can resume finds its own checkpoints; results of another key, and damaged ones,
    are removed first, so that nothing stale is ever mixed in. The last result of a summary stands
    until there is a new one.
    """
    log_path(out, stage).unlink(missing_ok=True)
    if stage.summary:
        return
    begun = _path(out, stage.name, ".begun.json")
    key = plan.keys[stage.name]
    resumable = read(out, stage) is None and _key(begun) == key
    if not resumable:
        left = [*stage.outputs, *stage.scratch]
        _remove(out, left)
        _path(out, stage.name).unlink(missing_ok=True)
        write_json(begun, {"key": key, "left": left})


def clear_parts(out: Path) -> None:
    """Remove the temporary files that a killed run was writing; nobody else writes here now."""
    for path in [*out.rglob(".*.part"), *out.rglob(".part-*")]:
        _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove(out: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for target in out.glob(pattern) if _inside(pattern) else ():
            _delete(target)


def _inside(name: str) -> bool:
    """Whether a name that stands in a record lies in the run directory."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts


def _key(path: Path) -> str | None:
    with contextlib.suppress(LangNeuronsError):
        return str(read_json(path)["key"])
    return None


def save(
    out: Path,
    plan: Plan,
    stage: Stage,
    seconds: float,
    without: Sequence[str] = (),
    made: Mapping[str, str] | None = None,
    beside: int = 1,
) -> None:
    """Record a finished stage with the checksum of every file it wrote.

    Args:
        out: Run directory.
        plan: Holds the keys.
        stage: The stage.
        seconds: Time it took.
        without: Parents that failed: the result holds what there was and is made again next time.
        made: Versions, device and dtype it was made with.
        beside: Processes that shared the machine then, this one included.
    """
    write_json(
        _path(out, stage.name),
        {
            "stage": stage.name,
            "kind": stage.kind,
            "key": plan.keys[stage.name],
            "plain": plan.plain[stage.name],
            "code": plan.code[stage.name],
            "arguments": stage.arguments,
            "settings": stage.settings,
            "parents": {parent: plan.keys[parent] for parent in stage.parents},
            "files": {
                path.relative_to(out).as_posix(): file_digest(path) for path in files(out, stage)
            },
            "without": list(without),
            "made": dict(made or {}),
            "seconds": round(seconds, 3),
            "beside": beside,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    _path(out, stage.name, ".begun.json").unlink(missing_ok=True)


def files(out: Path, stage: Stage) -> list[Path]:
    """Files a stage has written, sorted; empty if it has written none."""
    found: list[Path] = []
    for target in (out / name for name in stage.outputs):
        inside = target.rglob("*") if target.is_dir() else [target]
        found += [path for path in inside if path.is_file()]
    return sorted(found)


def read(out: Path, stage: Stage) -> dict[str, Any] | None:
    """The record of a stage, or None where there is none or it is damaged."""
    return _read(_path(out, stage.name))


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except LangNeuronsError:
        return None
    return found if {"stage", "key", "files", "parents"} <= set(found) else None


def stands(out: Path, plan: Plan, stage: Stage) -> bool:
    """Whether a stage's result in place is of this plan; its files are not looked at."""
    record = read(out, stage)
    return record is not None and record["key"] == plan.keys[stage.name]


def why(
    out: Path, plan: Plan, stage: Stage, checksum_of: Callable[[Path], str] = file_digest
) -> str | None:
    """Why a stage has to run, in a few words; None if its result stands, be it set aside.

    Every file's checksum is compared, so that a damaged or truncated file is found and named.

    Args:
        out: Run directory.
        plan: The plan.
        stage: One of its stages.
        checksum_of: SHA-256 of a file; :class:`langneurons.stages.digests.Digests` remembers them.
    """
    key = plan.keys[stage.name]
    root, record = out, read(out, stage)
    if record is None or record["key"] != key:
        kept = _read(_aside(out, key) / "record.json")
        if kept is None:
            return "never run" if record is None else _difference(record, plan, stage)
        root, record = _aside(out, key), kept
    if record.get("without"):
        return f"made without {record['without'][0]}, which had failed"
    for name, checksum in record["files"].items():
        path = root / name
        if not path.is_file():
            return f"{name} is missing"
        if checksum_of(path) != checksum:
            return f"{name} is damaged (checksum differs)"
    return None


def _difference(record: dict[str, Any], plan: Plan, stage: Stage) -> str:
    for part in ("settings", "arguments"):
        old, new = record[part], getattr(stage, part)
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        if changed:
            return f"changed: {', '.join(changed)}"
    modules = changed_code(record, plan, stage)
    if modules:
        more = f" and {len(modules) - 3} more" if len(modules) > 3 else ""
        return f"the code has changed: {', '.join(modules[:3])}{more}"
    parents = [name for name in stage.parents if record["parents"].get(name) != plan.keys.get(name)]
    return f"depends on {parents[0]}, which changed" if parents else "its inputs changed"


def changed_code(record: Mapping[str, Any], plan: Plan, stage: Stage) -> list[str]:
    """Modules whose code is another than the one that made a result."""
    old, new = record.get("code", {}), plan.code[stage.name]
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


# Results of other forms of the study


def _aside(out: Path, key: str) -> Path:
    return out / _ASIDE / key[:32]


def aside(out: Path) -> list[dict[str, Any]]:
    """Records of results that are set aside, by stage."""
    found = (_read(path) for path in sorted((out / _ASIDE).glob("*/record.json")))
    return sorted((item for item in found if item), key=lambda item: str(item["stage"]))


def settle(out: Path, plan: Plan) -> None:
    """Make the run directory hold results of this plan alone.

    What the plan does not name is moved to ``.aside/KEY``, and what it names again is taken up
    from there. What a stage of another form had begun is removed.
    """
    by_name = {stage.name: stage for stage in plan.stages}
    for path in sorted((out / _FOLDER).glob("*.begun.json")):
        begun = _begun(path)
        name = path.name.removesuffix(".begun.json").replace("~", "/")
        if begun is not None and begun["key"] != plan.keys.get(name):
            _remove(out, begun.get("left", ()))
            path.unlink(missing_ok=True)
    for record in _all(out):
        name = record["stage"]
        if record["key"] != plan.keys.get(name) and not (name in by_name and by_name[name].summary):
            _set_aside(out, record)
    for stage in plan.stages:
        kept = _aside(out, plan.keys[stage.name])
        if read(out, stage) is None and (kept / "record.json").is_file():
            _take_up(out, stage, kept)


def _begun(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(LangNeuronsError):
        found = read_json(path)
        return found if "key" in found else None
    return None


def _all(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((out / _FOLDER).glob("*.json")):
        if not path.name.endswith(".begun.json"):
            record = _read(path)
            if record is not None:
                yield record


def _set_aside(out: Path, record: dict[str, Any]) -> None:
    place = _aside(out, record["key"])
    shutil.rmtree(place, ignore_errors=True)
    write_json(place / "record.json", record)
    _path(out, record["stage"]).unlink(missing_ok=True)
    _move(record["files"], out, place)


def _take_up(out: Path, stage: Stage, kept: Path) -> None:
    record = _read(kept / "record.json")
    if record is None:
        return
    _remove(out, [*stage.outputs, *stage.scratch])
    _path(out, stage.name, ".begun.json").unlink(missing_ok=True)
    _move(record["files"], kept, out)
    write_json(_path(out, stage.name), record)
    shutil.rmtree(kept, ignore_errors=True)


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        if not _inside(name) or not (source / name).is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source / name, target / name)
        for folder in (source / name).parents:
            if folder == source:
                break
            try:
                folder.rmdir()  # only where it is empty
            except OSError:
                break


def accept(out: Path, plan: Plan) -> Plan:
    """The plan with the keys of results that differ from it in code alone, so that they stand.

    Args:
        out: Run directory.
        plan: The plan.
    """
    kept = {record["stage"]: record for record in [*aside(out), *_all(out)]
            if record.get("plain") == plan.plain.get(record["stage"])}  # fmt: skip
    summaries = {stage.name for stage in plan.stages if stage.summary}
    found = {name: record["key"] for name, record in kept.items() if name not in summaries}
    return replace(plan, keys=keys(plan, found))


def of_earlier_code(out: Path, plan: Plan) -> dict[str, list[str]]:
    """Stages whose result in place was made by other code, and the modules that differ."""
    found = {}
    for stage in plan.stages:
        record = read(out, stage)
        if record is not None and (modules := changed_code(record, plan, stage)):
            found[stage.name] = modules
    return found


def made_differently(out: Path, plan: Plan) -> list[dict[str, Any]]:
    """What results of one kind were made with, where they were not all made alike.

    Returns:
        A row a kind of stage and fact: ``kind``, ``what`` (``torch``, ``dtype`` ...), and
        ``values``, each with the names of its stages.
    """
    made: dict[tuple[str, str], dict[str, list[str]]] = {}
    for stage in plan.stages:
        record = read(out, stage)
        for what, value in ((record or {}).get("made") or {}).items():
            made.setdefault((stage.kind, what), {}).setdefault(str(value), []).append(stage.name)
    return [
        {"kind": kind, "what": what, "values": values}
        for (kind, what), values in made.items()
        if len(values) > 1
    ]


def owner(path: Path) -> Path | None:
    """The run directory whose results a path lies among, or None.

    Args:
        path: A file or folder somebody wants to write.
    """
    target = path.resolve()
    for out in (target, *target.parents):
        if not (out / _FOLDER).is_dir():
            continue
        own = target.relative_to(out).as_posix()
        names = [name for record in _all(out) for name in record["files"]]
        if target == out or any(f"{name}/".startswith(f"{own}/") for name in names):
            return out
        folders = {name.partition("/")[0] for name in names if "/" in name}
        if own.partition("/")[0] in folders:
            return out
    return None
