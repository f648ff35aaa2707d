"""GGUF files: read by Transformers, dequantised once, kept as safetensors.

The copy lies in the user's cache under the SHA-256 of the file, so a second load takes seconds and
a changed file is never mistaken for the old one. Weights are float32, exactly as dequantised.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock

from langneurons.artifacts import expanded, file_digest
from langneurons.errors import InputError
from langneurons.models.checking import check_complete
from langneurons.progress import track

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DONE = "complete"


def cache_folder() -> Path:
    """Folder for derived files: ``LANGNEURONS_CACHE``, else the platform's user cache."""
    chosen = os.environ.get("LANGNEURONS_CACHE")
    if chosen:
        return expanded(chosen)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "langneurons"


def converted(path: Path) -> Path | None:
    """The copy that :func:`dequantised` made of a file earlier, or None."""
    target = cache_folder() / "gguf" / file_digest(path) if path.is_file() else None
    return target if target is not None and (target / _DONE).is_file() else None


def dequantised(path: Path) -> Path:
    """Folder with the model and tokenizer of a GGUF file in Transformers' own format.

    Args:
        path: The .gguf file.

    Returns:
        A folder that ``from_pretrained`` reads; made on the first call.

    Raises:
        InputError: If the file is truncated, no GGUF file, of an architecture Transformers cannot
            read, or if the package ``gguf`` is missing.
    """
    check_header(path)
    target = cache_folder() / "gguf" / file_digest(path)
    if (target / _DONE).is_file():
        return target
    if importlib.util.find_spec("gguf") is None:
        raise InputError(
            "reading GGUF files needs the package gguf: install langneurons with the extra "
            "[gguf] (pip install 'langneurons[gguf]')."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to the cache {str(target.parent)!r} ({error.strerror}): set "
            "LANGNEURONS_CACHE to a folder that can be written."
        ) from error
    with FileLock(f"{target}.lock"):
        if not (target / _DONE).is_file():
            _convert(path, target)
    return target


def check_header(path: Path) -> None:
    """Look at the first bytes of a file.

    Raises:
        InputError: If it is no GGUF file of a version in use.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] != _MAGIC:
        raise InputError(
            f"{str(path)!r} is no GGUF file (it does not begin with 'GGUF'): give another file."
        )
    if len(head) < 8 or struct.unpack("<I", head[4:])[0] not in _VERSIONS:
        raise InputError(
            f"{str(path)!r} is truncated or of an unknown GGUF version: fetch it again."
        )


def _check_whole(path: Path) -> None:
    """Refuse a file that ends before the tensors its header announces."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(str(path))
        end = max((t.data_offset + t.n_bytes for t in reader.tensors), default=0)
        whole = end <= path.stat().st_size and bool(reader.tensors)
    except Exception as error:
        # The reader has no error of its own: a cut header shows as any of half a dozen types.
        raise InputError(
            f"{str(path)!r} is truncated or damaged ({type(error).__name__} while reading its "
            "header): fetch it again."
        ) from error
    if not whole:
        raise InputError(
            f"{str(path)!r} is truncated: its header announces {end:,} bytes, the file has "
            f"{path.stat().st_size:,}. Fetch it again."
        )


def _convert(path: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _check_whole(path)
    folder, name = str(path.parent), path.name
    work = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent))
    try:
        with track(f"reading {name} (once)", total=3, unit="steps") as bar:
            try:
                with without_bars():
                    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
                    bar.advance()
                    model, info = AutoModelForCausalLM.from_pretrained(
                        folder, gguf_file=name, dtype=torch.float32, output_loading_info=True
                    )
                    bar.advance()
            except (ValueError, KeyError, NotImplementedError, OSError) as error:
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"Transformers cannot read {str(path)!r}: {reason}. Use a GGUF file of an "
                    "architecture it knows, or the model's own repository."
                ) from error
            check_complete(info, str(path))
            unmark(model)
            with without_bars():
                model.save_pretrained(work)
                tokenizer.save_pretrained(work)
            (work / _DONE).touch()
            bar.advance()
        shutil.rmtree(target, ignore_errors=True)
        os.replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep Transformers' own progress bars off the terminal: ours speaks for the whole step."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def unmark(model: torch.nn.Module) -> None:
    """Remove the mark "quantised" from a dequantised model, which forbids saving it."""
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        if name in vars(model):
            delattr(model, name)
