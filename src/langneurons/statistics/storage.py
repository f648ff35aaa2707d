"""Statistics on disk: one safetensors file a language, and one file of token rows a layer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from langneurons.artifacts import digest, read_tensors, write_tensors
from langneurons.errors import ArtifactError, InputError, unknown
from langneurons.statistics.language import BatchQuantiles, LanguageStatistics
from langneurons.statistics.moments import Moments
from langneurons.statistics.routed import Routing
from langneurons.statistics.sample import FileRows, RowSample

FORMAT = "langneurons.statistics.1"
_SUFFIX = ".safetensors"


class Collected(Protocol):
    """What is written of statistics: see :class:`langneurons.statistics.Statistics`."""

    @property
    def site(self) -> str:
        """Site the activations were read at."""

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, units)."""

    @property
    def model(self) -> dict[str, Any] | None:
        """Fingerprint of the model."""

    def __getitem__(self, lang: str) -> LanguageStatistics: ...


@dataclass(frozen=True)
class Stored:
    """What one language's file holds.

    Attributes:
        language: The language.
        site: Site the activations were read at.
        shape: (layers, units).
        model: Fingerprint of the model.
        item: The language's statistics.
    """

    language: str
    site: str
    shape: tuple[int, int]
    model: Mapping[str, Any] | None
    item: LanguageStatistics


def language_path(directory: Path, lang: str) -> Path:
    """File of one language."""
    return directory / f"{lang}{_SUFFIX}"


def rows_path(directory: Path, lang: str) -> Path:
    """Folder of one language's token rows."""
    return directory / f"{lang}.rows"


def check_language(lang: str) -> None:
    """Raise :class:`InputError` unless a language's name can be the name of its file."""
    wrong = not isinstance(lang, str) or not lang or lang.startswith(".")
    if wrong or any(sign in '/\\:*?"<>|' or ord(sign) < 32 for sign in lang):
        raise InputError(f"the language name {lang!r} cannot be a file name: use letters.")


def save_language(statistics: Collected, lang: str, directory: Path) -> LanguageStatistics:
    """Write one language: its rows layer by layer, then the file that names them.

    Args:
        statistics: The statistics.
        lang: Which language.
        directory: Folder to write to.

    Returns:
        The statistics of the language, with rows that are read from the files written.

    Raises:
        InputError: If the language cannot be a file name or the folder cannot be written.
    """
    check_language(lang)
    item = statistics[lang]
    layers, _ = statistics.shape
    tensors = {"count": item.count}
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "language": lang,
        "site": statistics.site,
        "shape": list(statistics.shape),
        "model": statistics.model,
        "tokens": item.tokens,
        "texts": list(item.texts),
        "options": dict(item.options),
        "key": item.key or digest(FORMAT, lang, statistics.site, item.fingerprint),
    }
    if item.moments is not None:
        tensors |= item.moments.tensors()
    if item.routing is not None:
        tensors |= item.routing.tensors()
    if item.batch_quantiles is not None:
        tensors["batch_quantiles"] = item.batch_quantiles.values
        metadata["batch_quantiles"] = {
            "probabilities": list(item.batch_quantiles.probabilities),
            "batches": item.batch_quantiles.batches,
        }
    folder = rows_path(directory, lang)
    sample = item.sample
    if sample is not None:
        for layer in range(layers):
            path = FileRows.path(folder, layer)
            here = isinstance(sample.rows, FileRows) and sample.rows.folder == folder
            if not (here and path.is_file()):
                rows = {"rows": sample.rows.layer(layer)}
                write_tensors(path, rows, {"format": FORMAT, "key": metadata["key"]})
        tensors |= {f"row_{name}": getattr(sample, name) for name in _ROW_FIELDS}
        metadata["sample"] = {"limit": sample.limit, "seed": sample.seed}
        sample = replace(sample, rows=FileRows(folder, metadata["key"]))
    write_tensors(language_path(directory, lang), tensors, metadata)
    if sample is None and folder.is_dir():
        shutil.rmtree(folder)
    return replace(item, sample=sample, key=metadata["key"])


_ROW_FIELDS = ("keys", "documents", "positions", "token_ids")


def load_language(path: Path) -> Stored:
    """Read one language's file.

    Raises:
        InputError: If there is no such file or it holds no statistics.
        ArtifactError: If it is damaged.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise InputError(f"{str(path)!r} holds no statistics of this format: collect them again.")
    try:
        lang, tokens = str(metadata["language"]), int(metadata["tokens"])
        moments = Moments.from_tensors(tokens, tensors) if "mean" in tensors else None
        quantiles = None
        if "batch_quantiles" in metadata:
            about = metadata["batch_quantiles"]
            quantiles = BatchQuantiles(
                tuple(about["probabilities"]), tensors["batch_quantiles"], int(about["batches"])
            )
        sample = None
        if "sample" in metadata:
            about = metadata["sample"]
            columns = {name: tensors[f"row_{name}"] for name in _ROW_FIELDS}
            rows = FileRows(rows_path(path.parent, path.name[: -len(_SUFFIX)]), metadata["key"])
            sample = RowSample(about["limit"], about["seed"], **columns, rows=rows)
        item = LanguageStatistics(
            tokens,
            tensors["count"],
            moments,
            sample,
            quantiles,
            Routing.from_tensors(tensors) if "routed_tokens" in tensors else None,
            tuple(metadata["texts"]),
            metadata["options"],
            metadata["key"],
        )
        shape = (int(metadata["shape"][0]), int(metadata["shape"][1]))
        if sample is not None:
            rows.check(shape[0])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged ({error}): collect it again.") from error
    return Stored(lang, metadata["site"], shape, metadata["model"], item)


def find_languages(path: Path, languages: Sequence[str] | None = None) -> list[Path]:
    """Files of a folder of statistics, or the one file.

    Args:
        path: Folder or file.
        languages: Those wanted of a folder, in this order; None for all, sorted by name.

    Raises:
        InputError: If there are none, or none of a language.
    """
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(file for file in path.glob(f"*{_SUFFIX}") if not file.name.startswith("."))
    else:
        raise InputError(f"no statistics {str(path)!r}: check the path.")
    if not files:
        raise InputError(f"{str(path)!r} holds no statistics (*{_SUFFIX}): collect some first.")
    if languages is not None and path.is_dir():
        names = {file.name[: -len(_SUFFIX)]: file for file in files}
        for lang in languages:
            if lang not in names:
                raise unknown("language", lang, names)
        files = [names[lang] for lang in languages]
    return files
