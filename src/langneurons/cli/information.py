"""``langneurons doctor``: what this machine has, what will not work, and why."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import typer

from langneurons import threads
from langneurons.cli.options import AsJson, print_json, print_table

_EXTRAS = {
    "gguf": ("gguf", "reading .gguf files"),
    "ray": ("ray", "running a study on many machines"),
    "harness": ("lm_eval", "tasks of lm-evaluation-harness"),
    "language-id": ("lingua", "naming the language of generated text"),
    "translation": ("sacrebleu", "scoring translations"),
    "play": ("gradio", "the live page"),
    "erasure": ("concept_erasure", "erasing languages by LEACE"),
}
HUB_SECONDS = 4.0
"""How long the Hub may take to answer before it counts as out of reach."""


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: langneurons doctor --json")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Versions, devices, memory, Hub, caches; what will not work here, and why.

    Exits with 1 where a package that everything needs is missing or too old.
    """
    from langneurons.provenance.environment import describe

    found: dict[str, Any] = describe()
    unmet = unmet_requirements()
    hub, hub_problem = hub_access()
    caches, cache_problems = cache_state()
    extras = missing_extras()
    rows = [("langneurons", found["versions"].get("langneurons", "not installed"))]
    rows += [(name, found["versions"][name]) for name in ("torch", "transformers", "peft")]
    rows += [("python", found["python"]), *devices(found["device"])]
    used = f"{found['cores']} of {os.cpu_count()} ({found['threads']} threads used)"
    rows += [("cores", used), ("idle threads wait", threads.waiting()), memory()]
    rows.append(("disk free here", _free(Path.cwd())))
    rows += [("Hub", hub), *caches]
    absent = {name for name, _ in extras}
    rows += [(f"extra {name}", "missing" if name in absent else "there") for name in _EXTRAS]
    problems = [*unmet, *threads.not_set(), *hub_problem, *cache_problems]
    problems += [why for _, why in extras]
    if as_json:
        print_json({**found, "checks": dict(rows), "will_not_work": problems})
    else:
        print_table({"what": [row[0] for row in rows], "state": [row[1] for row in rows]})
        typer.echo("\nWill not work here:" if problems else "\nEverything works here.")
        for problem in problems:
            typer.echo(f"- {problem}")
    if unmet:
        raise typer.Exit(1)


def unmet_requirements(package: str = "langneurons") -> list[str]:
    """One sentence for each required package that is missing or outside its bounds."""
    from packaging.requirements import Requirement

    try:
        declared = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []  # run from a source tree: nothing is declared
    said = []
    for requirement in map(Requirement, declared):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        cure = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            said.append(f"anything: {requirement.name} is missing ({cure})")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            said.append(
                f"anything: {requirement.name} is {version}, {requirement.specifier} is needed "
                f"({cure})"
            )
    return said


def missing_extras() -> list[tuple[str, str]]:
    """Extras that are not installed: their name, and what fails without them."""
    return [
        (extra, f"{what}: the extra {extra} is missing (pip install 'langneurons[{extra}]')")
        for extra, (module, what) in _EXTRAS.items()
        if importlib.util.find_spec(module) is None
    ]


def devices(name: str) -> list[tuple[str, str]]:
    """A row for the device in use, or one for each GPU, with its free memory."""
    import torch

    if not torch.cuda.is_available():
        return [("device", name)]
    rows = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        label = f"{torch.cuda.get_device_name(number)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB"
        rows.append((f"device cuda:{number}", f"{label} free"))
    return rows


def memory() -> tuple[str, str]:
    """The row of this machine's memory."""
    import psutil

    state = psutil.virtual_memory()
    return "memory", f"{state.available / 1e9:.1f} of {state.total / 1e9:.1f} GB free"


def hub_access() -> tuple[str, list[str]]:
    """Can models be fetched? The state of the Hub, and what will not work because of it."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return "switched off (HF_HUB_OFFLINE)", [
            "models that are not in the Hub's cache: HF_HUB_OFFLINE is set (unset it, or give a "
            "folder or a .gguf file)"
        ]
    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"out of reach ({constants.ENDPOINT})", [
            f"models that are not in the Hub's cache: no answer from {constants.ENDPOINT} "
            f"({reason}; give a folder or a .gguf file)"
        ]
    if get_token() is None:
        return "answers, not logged in", ["gated and private models: log in with `hf auth login`"]
    return "answers, logged in", []


def cache_state() -> tuple[list[tuple[str, str]], list[str]]:
    """A row a cache, and what will not work because one cannot be written."""
    from huggingface_hub import constants

    from langneurons.models.gguf import cache_folder

    rows, problems = [], []
    for name, folder, what in (
        ("cache of the Hub", Path(constants.HF_HUB_CACHE), "keeping models (HF_HOME)"),
        ("cache of .gguf files", cache_folder(), "reading .gguf files (LANGNEURONS_CACHE)"),
    ):
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        writable = there.is_dir() and os.access(there, os.W_OK)
        rows.append((name, f"{folder}, {_free(there) + ' free' if writable else 'not writable'}"))
        if not writable:
            problems.append(f"{what}: {there} cannot be written to (choose another folder)")
    return rows, problems


def _free(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / 1e9:.1f} GB"
