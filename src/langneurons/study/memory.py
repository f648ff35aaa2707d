"""What was worked out before and still holds, as far as the sizes and times of files tell.

A finished run is asked again and again whether anything is left to do. Its plan follows from the
study, this package's own files and the files it reads; checksums follow from the files. Both are
kept in the run directory beside the size, times and inode of every file they came from, and worked
out anew where one of these differs. They are looked at before anything is read, so that what
changes later, while a run goes on for hours, is seen by the next one. ``--verify`` believes none of
it.
"""

from __future__ import annotations

import glob
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langneurons.artifacts import digest, expanded
from langneurons.config.inputs import model_path, sources_of
from langneurons.config.schema import StudyConfig
from langneurons.interface.part import ordered
from langneurons.provenance import files
from langneurons.provenance.environment import processor, versions
from langneurons.provenance.files import Seen
from langneurons.stages import digests
from langneurons.stages.stage import Plan, Stage

_FORMAT = 2


@dataclass(frozen=True)
class Laid:
    """A plan and what it holds for.

    Attributes:
        plan: The plan.
        dtype: The dtype in its keys: what ``auto`` came to.
        seen: What was seen before anything was read for it; None where that cannot be told.
    """

    plan: Plan
    dtype: str
    seen: Seen | None


def look(config: StudyConfig) -> Seen | None:
    """All that a plan follows from, as it is now; None where that cannot be told by looking.

    Args:
        config: The study.

    Returns:
        To be taken before any of it is read, and kept beside what is read.
    """
    code, found = files.package(), _inputs(config)
    if found is None:
        return None
    own = files.see({str(path.resolve()): path for path in found})
    asked = config.model_dump(mode="json")
    measured = config.dtype == "auto" and config.executor != "ray"
    made = [versions(("torch",)), _machine() if measured else None]
    return Seen(digest(_FORMAT, asked, made, code.of, own.of), code.settled and own.settled)


def recall(out: Path, seen: Seen | None, commits: Mapping[str, str]) -> Laid | None:
    """The plan that was laid out for the same study, code and files; None where one differs.

    Args:
        out: Run directory.
        seen: What :func:`look` sees.
        commits: Commits of what the study reads from the Hub.
    """
    kept = digests.kept(out, "plan")
    if seen is None or kept.get("of") != digest(seen.of, dict(commits)):
        return None
    try:
        stages = tuple(_stage(item) for item in kept["stages"])
        code = {stage.name: kept["codes"][kept["code"][stage.name]] for stage in stages}
        return Laid(Plan(stages, kept["keys"], kept["plain"], code), str(kept["dtype"]), seen)
    except (KeyError, TypeError, IndexError):
        return None


def remember(out: Path, new: Laid, commits: Mapping[str, str]) -> None:
    """Keep a plan for :func:`recall`, where everything that it follows from can be seen again.

    Args:
        out: Run directory.
        new: The plan, with what was seen before it was laid out.
        commits: Commits of what the study reads from the Hub, all of them.
    """
    laid = new.plan
    codes: list[dict[str, str]] = []
    places = {}
    for name, code in laid.code.items():
        if code not in codes:
            codes.append(code)
        places[name] = codes.index(code)
    own = all(module.startswith("langneurons.") for code in codes for module in code)
    if not own or new.seen is None or not new.seen.settled:
        digests.keep(out, "plan", None)
        return
    stages = [asdict(stage) for stage in laid.stages]
    digests.keep(
        out,
        "plan",
        {
            "of": digest(new.seen.of, dict(commits)), "dtype": new.dtype, "stages": stages,
            "keys": laid.keys, "plain": laid.plain, "codes": codes, "code": places,
        },
    )  # fmt: skip


def report_stands(out: Path, of: str) -> bool:
    """Whether the report was made from the same files by the same code and is as it was written.

    Args:
        out: Run directory.
        of: Digest of what it is made from.
    """
    kept = digests.kept(out, "report")
    return kept.get("of") == digest(of, files.package().of) and kept.get("files") == _report_files(
        out
    )


def remember_report(out: Path, of: str) -> None:
    """Keep what a report that was just written is made from; see :func:`report_stands`."""
    digests.keep(out, "report", {"of": digest(of, files.package().of), "files": _report_files(out)})


def _report_files(out: Path) -> dict[str, list[int] | None]:
    inside = sorted(path for path in (out / "report").rglob("*") if path.is_file())
    found = {path.relative_to(out).as_posix(): files.signature(path) for path in inside}
    return found if "report/index.html" in found else {}


def _stage(item: dict[str, Any]) -> Stage:
    lists = ("parents", "beside", "scratch", "entries")
    return Stage(**{**item, **{name: tuple(item[name]) for name in lists}})


def _machine() -> list[Any]:
    """What decides which dtype ``auto`` comes to, as far as can be told without loading torch."""
    chosen = [os.environ.get(f"{maker}_VISIBLE_DEVICES") for maker in ("CUDA", "HIP", "ROCR")]
    cards = sorted(glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/kfd") + glob.glob("/dev/dxg"))
    return [platform.system(), platform.machine(), processor(), chosen, cards]


def _inputs(config: StudyConfig) -> list[Path] | None:
    """Files of this machine whose content is in the keys; None where some lie elsewhere."""
    sources = {source for lang in config.languages for source in sources_of(config, lang)}
    if any(source.startswith("hub:") for source in sources):
        return None
    places = [expanded(source) for source in sorted(sources - {"mini"})]
    places.append(model_path(config.model))
    context = config.context()
    for part in ordered():
        spec = context.spec_of(part.word)
        if part.files is not None and spec:
            places += part.files(spec, context)
    return [path for place in places for path in files.within(place)]
