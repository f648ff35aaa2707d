"""Bottom-k sample of token rows: which tokens are kept, and where their activations lie.

Every token has a key, a hash of (seed, document content, offset in the document); the ``n`` tokens
with the smallest keys are kept, at every layer the same. The keys are known before the model runs,
so the kept set is fixed in advance: it does not depend on batch size, order, sharding or restarts,
and no row is ever copied in vain. Two samples merge by keeping the smallest keys of both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from langneurons.artifacts import read_header, read_tensors
from langneurons.data import Blocks
from langneurons.errors import ArtifactError, InputError


def token_keys(seed: int, documents: Tensor, positions: Tensor) -> Tensor:
    """Keys of tokens, uniform over [0, 2^63): the splitmix64 finaliser of Steele et al. (2014).

    Args:
        seed: Any integer.
        documents: int64 content keys of the documents, broadcast against ``positions``.
        positions: int64 offsets within the documents.

    Returns:
        int64, not negative.
    """
    document = documents.numpy().astype(np.uint64)
    position = positions.numpy().astype(np.uint64)
    start = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))
    with np.errstate(over="ignore"):
        stream = _mix(document ^ start) + position * np.uint64(0x9E3779B97F4A7C15)
    return torch.from_numpy((_mix(stream) >> np.uint64(1)).astype(np.int64))


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        first = value + np.uint64(0x9E3779B97F4A7C15)
        second = (first ^ (first >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        third = (second ^ (second >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return third ^ (third >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Selection:
    """The kept tokens, in ascending order of their keys; int64 (n,) each.

    Attributes:
        keys: Their keys.
        documents: Content key of the document (:func:`langneurons.data.document_key`).
        positions: Offset within the document.
        token_ids: The token itself.
        block: Block the token lies in.
        column: Its column there.
    """

    keys: Tensor
    documents: Tensor
    positions: Tensor
    token_ids: Tensor
    block: Tensor
    column: Tensor

    def __len__(self) -> int:
        return len(self.keys)


_SELECTED_AT_ONCE = 1 << 18  # positions whose keys are computed together


def select(blocks: Blocks, rows: int | None, seed: int) -> Selection:
    """Choose the tokens to keep: the ``rows`` smallest keys (None: all) among the counted ones.

    Goes through the text in pieces and keeps the best so far, so that memory is that of the rows
    kept and of one piece. Copies of one document have equal keys; their number in the text breaks
    the tie.
    """
    step = max(1, _SELECTED_AT_ONCE // max(1, blocks.input_ids.shape[1]))
    kept: list[Tensor] = []
    waiting = 0
    for start in range(0, len(blocks), step):
        kept.append(_candidates(blocks[start : start + step], start, seed))
        waiting += kept[-1].shape[1]
        if rows is not None and waiting > 2 * rows + _SELECTED_AT_ONCE:
            kept = [_best(torch.cat(kept, dim=1), rows)]
            waiting = kept[0].shape[1]
    found = torch.cat(kept, dim=1) if kept else torch.zeros((_CANDIDATE, 0), dtype=torch.int64)
    keys, documents, positions, tokens, block, column, _ = _best(found, rows)
    return Selection(keys, documents, positions, tokens, block, column)


_CANDIDATE = 7  # keys, documents, positions, tokens, block, column, number of the document


def _candidates(blocks: Blocks, first: int, seed: int) -> Tensor:
    """The counted tokens of some blocks, int64 (7, n)."""
    block, column = blocks.counted.nonzero(as_tuple=True)
    positions = blocks.position[block, column]
    documents = blocks.keys().expand(blocks.input_ids.shape)[block, column]
    return torch.stack(
        [
            token_keys(seed, documents, positions),
            documents,
            positions,
            blocks.input_ids[block, column],
            block + first,
            column,
            blocks.documents()[block, column],
        ]
    )


def _best(found: Tensor, rows: int | None) -> Tensor:
    """The candidates of smallest key, ascending."""
    keys, number, positions = found[0].numpy(), found[6].numpy(), found[2].numpy()
    if rows is not None and rows < len(keys):
        largest = np.partition(keys, rows - 1)[rows - 1] if rows else -1
        near = torch.from_numpy(np.flatnonzero(keys <= largest))
        return _best(found[:, near], None)[:, :rows]
    return found[:, torch.from_numpy(np.lexsort((positions, number, keys)))]


class RowSource(Protocol):
    """Where the rows of a sample are."""

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units)."""


class RowWriter(RowSource, Protocol):
    """A place that rows can be written to, in any order, again and again."""

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        """Put ``rows`` (m, units) at ``slots`` int64 (m,)."""

    def flush(self) -> None:
        """Make what was written survive a crash."""


class MemoryRows:
    """Rows in memory.

    Args:
        tensor: (L, n, units).
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units)."""
        return self._tensor[index]

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        """Put ``rows`` (m, units) at ``slots`` int64 (m,)."""
        self._tensor[layer, slots] = rows.to(device="cpu", dtype=self._tensor.dtype)

    def flush(self) -> None:
        """Nothing to do."""


class ScratchRows:
    """Rows in one raw file a layer, written in place, so that memory holds none of them.

    Args:
        folder: Where the files are (made if missing).
        layers: Number of layers.
        rows: Rows a layer.
        units: Units a row.
        dtype: Floating dtype of the values.
    """

    def __init__(
        self, folder: Path, layers: int, rows: int, units: int, dtype: torch.dtype
    ) -> None:
        self._shape, self._dtype = (rows, units), dtype
        self._row_bytes = units * dtype.itemsize
        self._paths = [folder / f"{layer:03d}.raw" for layer in range(layers)]
        folder.mkdir(parents=True, exist_ok=True)
        for path in self._paths:
            with path.open("ab") as file:
                file.truncate(rows * self._row_bytes)

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units)."""
        raw = bytearray(self._paths[index].read_bytes())
        if not raw:
            return torch.empty(self._shape, dtype=self._dtype)
        return torch.frombuffer(raw, dtype=self._dtype).reshape(self._shape)

    def write(self, layer: int, slots: Tensor, rows: Tensor) -> None:
        """Put ``rows`` (m, units) at ``slots`` int64 (m,)."""
        data = rows.to(device="cpu", dtype=self._dtype).contiguous().view(torch.uint8).numpy()
        with self._paths[layer].open("r+b", buffering=0) as file:
            for slot, row in zip(slots.tolist(), data, strict=True):
                os.pwrite(file.fileno(), row.data, slot * self._row_bytes)

    def flush(self) -> None:
        """Make what was written survive a crash."""
        for path in self._paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())


class FileRows:
    """Rows in finished files, one a layer, read when asked for, their checksum compared once.

    Args:
        folder: Folder of ``000.safetensors`` and so on.
        key: What the files must say they belong to.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self._checked: set[int] = set()

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units).

        Raises:
            ArtifactError: If the file belongs to other statistics.
        """
        path = self.path(self.folder, index)
        tensors, metadata = read_tensors(path, verify=index not in self._checked)
        self._belongs(path, metadata)
        self._checked.add(index)
        return tensors["rows"]

    def check(self, layers: int) -> None:
        """Look whether every layer's file is there, whole and of these statistics; reads no row.

        Raises:
            ArtifactError: If one is not.
        """
        for index in range(layers):
            path = self.path(self.folder, index)
            if not path.is_file():
                raise ArtifactError(f"the token rows {str(path)!r} are gone: collect them again.")
            self._belongs(path, read_header(path))

    def _belongs(self, path: Path, metadata: Mapping[str, Any]) -> None:
        if metadata.get("key") != self.key:
            raise ArtifactError(f"{str(path)!r} belongs to other statistics: collect them again.")

    @staticmethod
    def path(folder: Path, index: int) -> Path:
        """File of one layer."""
        return folder / f"{index:03d}.safetensors"


class JoinedRows:
    """Rows picked from several sources, read when asked for.

    Args:
        sources: The sources.
        source: int64 (n,), which source each row comes from.
        slot: int64 (n,), which row of it.
    """

    def __init__(self, sources: Sequence[RowSource], source: Tensor, slot: Tensor) -> None:
        self._sources, self._source, self._slot = sources, source, slot

    def layer(self, index: int) -> Tensor:
        """Rows of one layer, (n, units)."""
        parts = [rows.layer(index) for rows in self._sources]
        dtype = parts[0].dtype
        for part in parts[1:]:
            dtype = torch.promote_types(dtype, part.dtype)
        result = torch.empty((len(self._slot), parts[0].shape[1]), dtype=dtype)
        for number, part in enumerate(parts):
            mine = self._source == number
            result[mine] = part[self._slot[mine]].to(dtype)
        return result


@dataclass(frozen=True, eq=False)
class RowSample:
    """A bottom-k sample: its tokens (int64 (n,) each, ascending keys) and where the rows are.

    Attributes:
        limit: Most rows the sample may hold (k); None if it holds every token.
        seed: Seed of the keys.
        keys: Keys of the tokens.
        documents: Content keys of their documents.
        positions: Offsets in the documents.
        token_ids: The tokens.
        rows: The rows.
    """

    limit: int | None
    seed: int
    keys: Tensor
    documents: Tensor
    positions: Tensor
    token_ids: Tensor
    rows: RowSource

    def __len__(self) -> int:
        return len(self.keys)

    def merge(self, other: RowSample) -> RowSample:
        """The bottom-k sample of both texts together, k being the smaller of both limits.

        Raises:
            InputError: If the seeds differ: keys of different seeds are no common order.
        """
        if self.seed != other.seed:
            raise InputError(
                f"samples of token rows of different seeds ({self.seed}, {other.seed}) do not "
                "merge: collect with one seed."
            )
        limits = [limit for limit in (self.limit, other.limit) if limit is not None]
        limit = min(limits) if limits else None
        joined = {
            name: torch.cat([getattr(self, name), getattr(other, name)])
            for name in ("keys", "documents", "positions", "token_ids")
        }
        order = np.lexsort((joined["positions"], joined["documents"], joined["keys"]))
        kept = torch.from_numpy(order)[: limit if limit is not None else None]
        number = torch.arange(2).repeat_interleave(torch.tensor([len(self), len(other)]))
        slot = torch.cat([torch.arange(len(self)), torch.arange(len(other))])
        return RowSample(
            limit,
            self.seed,
            **{name: tensor[kept] for name, tensor in joined.items()},
            rows=JoinedRows((self.rows, other.rows), number[kept], slot[kept]),
        )
