"""Files on disk: safetensors, JSON and Parquet, each written whole or not at all.

A file is written under a temporary name in its own folder, flushed, and renamed over the final
name. Tensor and JSON files carry a SHA-256 of their content, checked on reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langneurons.errors import ArtifactError, InputError, RunError

if TYPE_CHECKING:
    import pandas as pd
    import torch

_CHECKSUM = "sha256"


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path that a user wrote, with ``~`` and ``~user`` as the folders they stand for.

    Raises:
        InputError: If nobody of that name has a folder on this machine.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{str(path)!r}: the home folder of that user is not known here: write the path out."
        ) from error


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; renamed to ``path`` on success, removed on failure.

    Raises:
        InputError: If the folder cannot be written.
        RunError: If the disk fills while writing.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
        os.close(handle)
    except OSError as error:
        raise InputError(
            f"cannot write to {str(target.parent)!r} ({error.strerror}): "
            "choose another output folder or mend its permissions."
        ) from error
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        os.replace(part, target)
    except OSError as error:
        raise _full(target, error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _full(target: Path, why: str) -> RunError:
    return RunError(
        f"could not write {str(target)!r}: {why}. "
        "Free disk space or choose another output folder, then repeat the command."
    )


def digest(*parts: object) -> str:
    """SHA-256 (hex) of values: bytes as they are, tensors by their bytes, the rest as JSON."""
    sha = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else _to_bytes(part)
        sha.update(len(data).to_bytes(8, "little"))
        sha.update(data)
    return sha.hexdigest()


def _to_bytes(part: object) -> bytes:
    if hasattr(part, "detach"):
        import torch

        tensor = cast("torch.Tensor", part)
        # A single element counts as contiguous whatever its stride; reshaping twice resets it.
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        flat = flat.reshape(()).reshape(-1) if flat.numel() == 1 else flat
        head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
        return head + flat.view(torch.uint8).numpy().tobytes() if flat.numel() else head
    return json.dumps(part, sort_keys=True, ensure_ascii=False).encode()


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with a checksum of its content under ``"sha256"``.

    Keys that are numbers become strings, as JSON has no others.
    """
    # As it will be read: JSON's keys are strings, whose order is not that of the numbers.
    body = json.loads(json.dumps({k: v for k, v in value.items() if k != _CHECKSUM}))
    write_text(
        path,
        json.dumps({**body, _CHECKSUM: digest(body)}, ensure_ascii=False, indent=1) + "\n",
    )


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object written by :func:`write_json` and check its checksum.

    Raises:
        InputError: If there is no such file.
        ArtifactError: If it is no JSON object or was changed after it was written.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no file {str(path)!r}: check the path.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged (not valid JSON): make it again.") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{str(path)!r} holds no JSON object: make it again.")
    expected = value.pop(_CHECKSUM, None)
    if expected is not None and expected != digest(value):
        raise ArtifactError(f"{str(path)!r} is damaged (checksum differs): make it again.")
    return value


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write tensors as safetensors, atomically, with JSON metadata and a checksum.

    Args:
        path: Target file, usually ``*.safetensors``.
        tensors: Names to tensors, any dtype and shape.
        metadata: JSON-serialisable values kept in the file's header.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    body = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {key: json.dumps(item, ensure_ascii=False) for key, item in (metadata or {}).items()}
    header[_CHECKSUM] = _tensor_digest(body)
    with atomic_path(path) as part:
        try:
            save_file(body, part, metadata=header)
        except SafetensorError as error:
            # The library's own error for a disk that is full, which is no OSError.
            raise _full(Path(path), str(error).rpartition("I/O error: ")[2]) from error
        _order_header(part)


def _order_header(path: Path) -> None:
    """Sort the metadata in a safetensors header, whose order the library leaves to chance.

    Equal content then gives equal bytes. The header keeps its length: blanks may end it.
    """
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))


def _tensor_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    return digest(*(item for name in sorted(tensors) for item in (name, tensors[name])))


def read_tensors(
    path: str | os.PathLike[str], *, verify: bool = True
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a safetensors file and its metadata.

    Args:
        path: File to read.
        verify: Compare the content with the checksum in the header, where there is one.

    Returns:
        Tensors by name, and the metadata with JSON values decoded (values that are no JSON, as in
        files of other tools, stay strings).

    Raises:
        InputError: If there is no such file.
        ArtifactError: If the file is truncated, no safetensors file, or its checksum differs.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = dict(file.metadata() or {})
    expected = header.pop(_CHECKSUM, None)
    if verify and expected is not None and expected != _tensor_digest(tensors):
        raise ArtifactError(f"{str(path)!r} is damaged (checksum differs): make it again.")
    return tensors, {key: _decode(item) for key, item in header.items()}


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Metadata of a safetensors file, without reading its tensors; a file cut short is noticed.

    Raises:
        InputError: If there is no such file.
        ArtifactError: If the file is truncated or no safetensors file.
    """
    with _opened(path) as file:
        header = dict(file.metadata() or {})
    header.pop(_CHECKSUM, None)
    return {key: _decode(item) for key, item in header.items()}


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"no file {str(path)!r}: check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{str(path)!r} is damaged or no safetensors file: make it again."
        ) from error


def _decode(item: str) -> Any:
    try:
        return json.loads(item)
    except json.JSONDecodeError:
        return item


def write_table(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write a table as Parquet, atomically."""
    with atomic_path(path) as part:
        table.to_parquet(part, index=False)


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a Parquet table.

    Raises:
        InputError: If there is no such file.
        ArtifactError: If the file is damaged.
    """
    import pandas as pd
    import pyarrow as pa

    if not Path(path).is_file():
        raise InputError(f"no file {str(path)!r}: check the path.")
    try:
        return pd.read_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(
            f"{str(path)!r} is damaged or no Parquet file: make it again."
        ) from error
