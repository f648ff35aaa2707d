"""What a run says of itself, for captions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from langneurons.reporting.inputs import Run
from langneurons.reporting.numbers import number


def model_name(run: Run) -> str:
    """The model as a caption names it."""
    model = run.info.get("model", {})
    name = str(model.get("name", "")) if isinstance(model, Mapping) else str(model)
    return Path(name).name if Path(name).is_absolute() else name  # a folder's place says nothing


def facts(run: Run) -> list[tuple[str, str]]:
    """Short facts for under the title, as (term, text)."""
    info = run.info
    model = info.get("model", {})
    facts = [("model", model_name(run))]
    if isinstance(model, Mapping) and model.get("layers") and model.get("units"):
        shape = f"{number(model['layers'], 0)} layers × {number(model['units'], 0)} units"
        facts.append(("size", shape))
    facts.append(("languages", ", ".join(map(str, info.get("languages", [])))))
    seconds = info.get("seconds")
    facts += [
        ("protocol", str(info.get("protocol", ""))),
        ("budget", str(info.get("budget", ""))),
        ("finished", str(info.get("finished", ""))),
        ("time", f"{number(float(seconds) / 60, 1)} min" if seconds is not None else ""),
        ("langneurons", str(info.get("version", ""))),
    ]
    return [(term, text) for term, text in facts if text]
