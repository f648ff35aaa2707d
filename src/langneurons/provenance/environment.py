"""The machine and the versions a run was made with, without secrets or home paths."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langneurons import threads

_PACKAGES = (
    "langneurons",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
)


# Access tokens of model hubs and of services, and passwords within addresses.
_SECRETS = (
    re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}"),
    re.compile(r"\b(?:sk|ghp|github_pat|glpat|xox[a-z])[-_][A-Za-z0-9_-]{16,}"),
    re.compile(r"(?<=://)[^/@\s]+(?=@)"),
)


def public(text: str) -> str:
    """The text without secrets, and without the home folder's and working folder's full path."""
    for secret in _SECRETS:
        text = secret.sub("***", text)
    for folder, short in ((str(Path.cwd()), "."), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = text.replace(folder, short)
    return text


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(packages: Sequence[str] = ("langneurons", "torch", "transformers")) -> dict[str, str]:
    """Versions of packages, those that are not installed left out."""
    return {name: found for name in packages if (found := _version(name))}


def describe() -> dict[str, Any]:
    """Versions, device and commit, as plain JSON values."""
    import torch

    device = "cpu"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    elif torch.backends.mps.is_available():
        device = "mps"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": threads.cores(),
        "threads": torch.get_num_threads(),
        "waiting": threads.waiting(),
        "device": device,
        "versions": versions(_PACKAGES),
        "commit": _commit(),
    }


def processor() -> str:
    """What the machine's processor is called; empty where that is not known."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """Commit of the package's own checkout; None where it was installed from a wheel."""
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
