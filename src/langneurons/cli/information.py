"""``langneurons doctor``: what this machine has, and what will not work."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import typer

from langneurons.cli.options import AsJson, print_json, print_table

_EXTRAS = {
    "gguf": "reading .gguf files",
    "ray": "running a study on many machines",
    "lm_eval": "tasks of lm-evaluation-harness",
    "sae_lens": "sparse autoencoders",
    "lingua": "naming the language of generated text",
}


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: langneurons doctor --json")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Versions, devices, memory, caches, and what is missing for what."""
    import pandas as pd

    from langneurons.study.environment import describe

    found: dict[str, Any] = describe()
    rows = [("langneurons", found["versions"].get("langneurons", "not installed"))]
    rows += [(name, found["versions"][name]) for name in ("torch", "transformers", "peft")]
    rows += [("python", found["python"]), ("device", found["device"])]
    rows += [("cores", f"{found['cores']} ({found['threads']} threads used)")]
    memory = _memory()
    if memory:
        rows.append(("memory", f"{memory:.1f} GB"))
    rows.append(("disk free here", f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB"))
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    rows.append(("Hub", "switched off (HF_HUB_OFFLINE)" if offline else "asked when needed"))
    for module, what in _EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        rows.append((f"extra {module}", "there" if there else f"missing: no {what}"))
    if as_json:
        print_json({**found, "checks": dict(rows)})
    else:
        print_table(pd.DataFrame(rows, columns=["what", "state"]))


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        return None
